//! Long work as functions: what it will take, how far it is, how it is cancelled, what comes of it.
//!
//! A job is prepared first, which opens and checks everything and predicts memory and disk. It then runs
//! on the calling thread, reports events to a closure and ends early when a [`Cancel`] asks for it; what
//! it has written by then is whole and can be resumed. Nothing here prints or handles a signal.
//!
//! A training that is cancelled after its fourth step, and one that resumes it:
//!
//! ```
//! use saescope::corpus::{Chats, CorpusConfig, Layout, TextUnit};
//! use saescope::hub::HubOptions;
//! use saescope::jobs::Cancel;
//! use saescope::jobs::train::{ActivationSource, Event, Outcome, TrainJob, TrainRequest};
//! use saescope::runs::Existing;
//! use saescope::session::Session;
//! use saescope::train::Choice;
//!
//! # fn main() -> saescope::Result<()> {
//! # let (out, cache) = (tempfile::tempdir().unwrap(), std::env::temp_dir());
//! # let model = "../../tests/data/stories260K";
//! # let texts = "../../tests/data/text/stories-en.txt".into();
//! let lm = Session::new(HubOptions::new(cache)).open_model(model)?;
//! let (bos, seed) = (lm.bos, 0);
//! let (text, chats, layout) = (TextUnit::Line, Chats::default(), Layout::Packed);
//! let (files, context) = (vec![texts], 64);
//! let corpus = CorpusConfig { files, template: None, labels: None, text, chats, layout, context, bos, seed };
//! let (site, texts) = ("resid_post.2".parse()?, ActivationSource::Texts(corpus));
//! let request = TrainRequest {
//!     choice: Choice { k: Some(8), steps: Some(6), batch_tokens: Some(64), ..Choice::default() },
//!     buffer_tokens: 1024,
//!     eval_tokens: Some(256),
//!     ..TrainRequest::new(site, texts, out.path().join("run"))
//! };
//! let cancel = Cancel::default();
//! let job = TrainJob::prepare(&lm, request.clone(), None, &mut |_| ())?;
//! if let Some(plan) = job.plan() {
//!     println!("{} bytes of memory", plan.memory());
//! }
//! let outcome = job.run(&cancel, &mut |event| match event {
//!     Event::Step { step: 4, .. } => cancel.raise(),
//!     Event::Line { line, .. } => println!("loss {}", line.metrics.loss),
//!     _ => (),
//! })?;
//! assert!(matches!(outcome, Outcome::Cancelled { step: 4, .. }));
//!
//! let resumed = TrainRequest { existing: Existing::Resume, ..request };
//! let job = TrainJob::prepare(&lm, resumed, None, &mut |_| ())?;
//! let outcome = job.run(&Cancel::default(), &mut |_| ())?;
//! assert!(matches!(outcome, Outcome::Finished { runs, .. } if runs[0].steps == 6));
//! # Ok(())
//! # }
//! ```

mod cancel;
mod room;

pub mod capture;
pub mod harvest;
pub mod train;

pub use cancel::Cancel;
