//! Capturing activations as a job: corpus, plan of memory and disk, shards, report.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::cancel::Cancel;
use super::room::Needs;
pub use crate::activations::shards::WriteProgress;
use crate::activations::shards::{self, Manifest, ShardDtype, ShardsConfig, ShardsOrigin};
use crate::activations::{Batches as _, Stream, StreamConfig};
use crate::corpus::{self, Corpus, CorpusConfig};
use crate::error::Result;
use crate::session::{Job, LanguageModel, Warning};
use crate::site::Site;

/// Tokens that pass from the model to the shards at once.
const BATCH_TOKENS: usize = 1024;
/// Tokens that are computed at once: so many that few sequences are run twice.
const FILL_TOKENS: usize = 16 * BATCH_TOKENS;

/// Activations to capture as shards.
#[derive(Clone, Debug)]
pub struct CaptureRequest {
    /// Site of the activations.
    pub site: Site,
    /// Site of the targets of a transcoder.
    pub out_site: Option<Site>,
    /// The texts.
    pub corpus: CorpusConfig,
    /// Tokens of the shards; by default all of the corpus, once.
    pub tokens: Option<u64>,
    /// Number format of the shards.
    pub dtype: ShardDtype,
    /// True if the first token of every sequence is omitted.
    pub skip_first: bool,
    /// Seed of the order.
    pub seed: u64,
    /// The folder to write, which must be missing or empty.
    pub folder: PathBuf,
}

impl CaptureRequest {
    /// All activations of a corpus at `site`, as bf16.
    pub fn new(site: Site, corpus: CorpusConfig, folder: PathBuf) -> CaptureRequest {
        CaptureRequest {
            site,
            out_site: None,
            seed: corpus.seed,
            corpus,
            tokens: None,
            dtype: ShardDtype::default(),
            skip_first: false,
            folder,
        }
    }
}

/// The size of shards, and the memory and disk that they take, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CapturePlan {
    /// Tokens of the shards.
    pub tokens: u64,
    /// Tokens of the corpus, read once.
    pub epoch_tokens: u64,
    /// Memory without the model.
    pub memory: u64,
    /// Disk of the shards.
    pub disk: u64,
}

impl CapturePlan {
    /// The number of times that the corpus is read, as a fraction.
    pub fn epochs(&self) -> f64 {
        self.tokens as f64 / self.epoch_tokens as f64
    }
}

/// Shards that are complete.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaptureReport {
    /// The folder of the shards.
    pub folder: PathBuf,
    /// Their manifest.
    #[serde(flatten)]
    pub manifest: Manifest,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Documents of the corpus.
    pub documents: usize,
    /// Sequences of the corpus.
    pub sequences: usize,
    /// The number of times that the corpus was read, as a fraction.
    pub epochs: f64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Tokens a second.
    pub tokens_per_s: f64,
}

/// The result of a capture.
#[derive(Debug)]
pub enum Outcome {
    /// The shards are complete.
    Finished(Box<CaptureReport>),
    /// The capture was cancelled; nothing is left of it.
    Cancelled,
}

/// A capture that is ready to run: everything is open and checked.
pub struct CaptureJob<'a> {
    lm: &'a LanguageModel,
    request: CaptureRequest,
    corpus: Corpus,
    shards: ShardsConfig,
    plan: CapturePlan,
    /// Doubts found so far.
    pub warnings: Vec<Warning>,
}

impl<'a> CaptureJob<'a> {
    /// Opens the corpus of a capture and checks all of it. `cache` keeps the tokens of texts for the next
    /// time; `on_reading` sees how far texts are read.
    ///
    /// # Errors
    /// When the folder is not empty, the model lacks a site, texts cannot be read, or the disk has too
    /// little room.
    pub fn prepare(
        lm: &'a LanguageModel,
        request: CaptureRequest,
        cache: Option<&Path>,
        on_reading: &mut dyn FnMut(corpus::Progress),
    ) -> Result<CaptureJob<'a>> {
        check_free(&request.folder)?;
        for site in std::iter::once(request.site).chain(request.out_site) {
            lm.model.check_site(site)?;
        }
        lm.check_context(request.corpus.context)?;
        let corpus = Corpus::open(&request.corpus, &lm.tokenizer, cache, on_reading)?;
        let stream = Stream::new(&lm.model, &corpus, stream_config(&request))?;
        let epoch_tokens = stream.epoch_tokens();
        let shards = ShardsConfig {
            dtype: request.dtype,
            seed: request.seed,
            ..ShardsConfig::new(request.tokens.unwrap_or(epoch_tokens))
        };
        let width = stream.d_in() + stream.d_out().unwrap_or(0);
        let plan = CapturePlan {
            tokens: shards.tokens,
            epoch_tokens,
            memory: shards.predicted_memory(width) + stream.predicted_bytes(),
            disk: shards.predicted_bytes(width),
        };
        let needs = Needs {
            job: Job::Capture,
            memory: plan.memory,
            disk: shards.peak_bytes(width),
        };
        let warnings = needs.check(&request.folder)?.into_iter().collect();
        Ok(CaptureJob {
            lm,
            request,
            corpus,
            shards,
            plan,
            warnings,
        })
    }

    /// Its size, memory and disk.
    pub fn plan(&self) -> &CapturePlan {
        &self.plan
    }

    /// Writes the shards. `on_progress` sees every batch and shard. Once `cancel` is raised, the shards
    /// so far are removed.
    ///
    /// # Errors
    /// When the model fails on a text, a number does not fit its format, or a file cannot be written.
    pub fn run(
        &self,
        cancel: &Cancel,
        on_progress: &mut dyn FnMut(WriteProgress),
    ) -> Result<Outcome> {
        let CaptureRequest {
            site,
            out_site,
            skip_first,
            ref folder,
            ..
        } = self.request;
        let mut stream = Stream::new(&self.lm.model, &self.corpus, stream_config(&self.request))?;
        let origin = ShardsOrigin {
            model: self.lm.reference.clone(),
            site,
            out_site,
            corpus: self.corpus.digest().to_owned(),
            context: self.corpus.context(),
            skip_first,
            prepend_bos: Some(self.lm.prepends_bos()?),
        };
        let start = Instant::now();
        let written = shards::write(folder, &self.shards, origin, &mut stream, &mut |progress| {
            on_progress(progress);
            if cancel.is_raised() && progress.shuffled < progress.tokens {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        let Some(manifest) = written else {
            return Ok(Outcome::Cancelled);
        };
        let seconds = start.elapsed().as_secs_f64();
        Ok(Outcome::Finished(Box::new(CaptureReport {
            folder: folder.clone(),
            bytes: manifest.bytes(),
            documents: self.corpus.documents(),
            sequences: self.corpus.sequences(),
            epochs: self.plan.epochs(),
            seconds,
            tokens_per_s: manifest.tokens as f64 / seconds,
            manifest,
        })))
    }
}

fn stream_config(request: &CaptureRequest) -> StreamConfig {
    StreamConfig {
        site: request.site,
        out_site: request.out_site,
        batch_tokens: BATCH_TOKENS,
        buffer_tokens: FILL_TOKENS,
        skip_first: request.skip_first,
        seed: request.seed,
    }
}

/// Refuses a folder that holds anything.
///
/// # Errors
/// When it does. Front ends call it before they load a model, which takes longer.
pub fn check_free(folder: &Path) -> Result<()> {
    shards::check_target(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Chats, Layout, TextUnit};
    use crate::hub::HubOptions;
    use crate::session::Session;
    use crate::tokenizer::Bos;

    #[test]
    fn a_cancelled_capture_leaves_nothing_and_a_finished_one_says_what_it_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::new(HubOptions::new(folder.path().join("cache")));
        let lm = session.open_model("../../tests/data/stories260K").unwrap();
        let corpus = CorpusConfig {
            files: vec!["../../tests/data/text/stories-en.txt".into()],
            template: None,
            labels: None,
            text: TextUnit::Line,
            chats: Chats::default(),
            layout: Layout::Packed,
            context: 64,
            bos: Bos::Auto,
            seed: 0,
        };
        let out = folder.path().join("shards");
        let request = CaptureRequest {
            tokens: Some(1500),
            ..CaptureRequest::new(Site::ResidPost(1), corpus, out.clone())
        };
        let job = CaptureJob::prepare(&lm, request.clone(), None, &mut |_| ()).unwrap();
        assert_eq!((job.plan().tokens, job.plan().disk), (1500, 1500 * 64 * 2));
        let cancel = Cancel::default();
        let outcome = job.run(&cancel, &mut |_| cancel.raise()).unwrap();
        assert!(matches!(outcome, Outcome::Cancelled));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        let outcome = job.run(&Cancel::default(), &mut |_| ()).unwrap();
        let Outcome::Finished(report) = outcome else {
            panic!("it was not cancelled");
        };
        assert_eq!((report.manifest.tokens, &report.folder), (1500, &out));
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["shards"].is_array() && json["folder"].is_string());
        let again = CaptureJob::prepare(&lm, request, None, &mut |_| ());
        assert!(again.is_err(), "the folder is in use");
    }
}
