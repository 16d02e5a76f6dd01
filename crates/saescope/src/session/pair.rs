//! Autoencoders and the model whose activations they read.

use std::path::Path;

use super::language_model::excerpt;
use super::{LanguageModel, Session, Warning, same_name};
use crate::error::{Error, Result};
use crate::features::{self, CutTexts};
use crate::sae::{NamedSae, Sae};
use crate::site::Site;
use crate::tokenizer::{Bos, Text, Tokenizer};

/// Autoencoders and a model by reference.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    /// The autoencoders, all of one model.
    pub saes: &'a [&'a str],
    /// The model; by default the one that the autoencoders' records name.
    pub model: Option<&'a str>,
    /// Site at which the autoencoders read; by default the one that their records name.
    pub site: Option<Site>,
}

/// A model and the autoencoders that read it.
pub struct Opened {
    /// The model and its tokenizer.
    pub lm: LanguageModel,
    /// The autoencoders, in the order in which they were selected.
    pub saes: Vec<NamedSae>,
    /// Ways in which they may not belong together.
    pub warnings: Vec<Warning>,
}

impl Session {
    /// Opens a model and autoencoders of it, and checks that they fit each other.
    ///
    /// # Errors
    /// When a reference names nothing or cannot be read, no record names a model or a site and none is
    /// given, the autoencoders belong to different models, or one does not fit the model.
    pub fn open(&self, selection: &Selection) -> Result<Opened> {
        // Downloads come one after another, each with its own progress.
        let paths = selection.saes.iter().map(|name| self.locate_sae(name));
        let paths: Vec<_> = paths.collect::<Result<_>>()?;
        let model_path = selection.model.map(|name| self.locate_model(name));
        let model_path = model_path.transpose()?;
        // Without the session, whose progress stays on this thread.
        let (precision, bos) = (self.precision, self.bos);
        let open_model = |name: &str, path: &Path| LanguageModel::open(name, path, precision, bos);
        let open_saes =
            || -> Result<Vec<Sae>> { paths.iter().map(|path| Sae::open(path)).collect() };
        // The model loads beside them where its reference is known.
        let (saes, lm) = match (selection.model, &model_path) {
            (Some(name), Some(path)) => {
                let (saes, lm) = rayon::join(open_saes, || open_model(name, path));
                (saes?, Some(lm?))
            }
            _ => (open_saes()?, None),
        };
        let names = selection.saes.iter().map(|name| (*name).to_owned());
        let mut saes: Vec<NamedSae> = names
            .zip(saes)
            .map(|(reference, sae)| NamedSae { reference, sae })
            .collect();
        let mut warnings = Vec::new();
        for named in &mut saes {
            warnings.extend(named.place(selection.site)?);
        }
        let lm = match lm {
            Some(lm) => lm,
            None => {
                let name = recorded_model(&saes)?;
                let path = self.locate_model(&name);
                let lm = path.and_then(|path| open_model(&name, &path));
                lm.map_err(|source| Error::ModelOfSae {
                    source: Box::new(source),
                })?
            }
        };
        for named in &saes {
            features::check(&lm.model, &named.sae).map_err(|error| {
                let (sae, model) = (&named.reference, &lm.reference);
                error.at(format!("{sae} does not fit the model {model}"))
            })?;
            warnings.extend(named.other_model(&lm.reference));
        }
        Ok(Opened { lm, saes, warnings })
    }
}

/// The one model that all records name.
fn recorded_model(saes: &[NamedSae]) -> Result<String> {
    let recorded = |named: &NamedSae| named.sae.record().model.clone();
    let Some(first) = saes.first() else {
        return Err(Error::Empty {
            what: "the selection of a model and autoencoders".to_owned(),
        });
    };
    if let Some(other) = saes.iter().find(|other| recorded(other) != recorded(first)) {
        return Err(Error::Argument(format!(
            "{} and {} belong to different models; open them one by one, or name one model for both",
            first.reference, other.reference
        )));
    }
    recorded(first).ok_or_else(|| Error::NoModel {
        sae: first.reference.clone(),
    })
}

impl Opened {
    /// The only autoencoder.
    ///
    /// # Errors
    /// When there is not exactly one.
    pub fn into_pair(mut self) -> Result<(LanguageModel, NamedSae, Vec<Warning>)> {
        let selected = self.saes.len();
        match self.saes.pop() {
            Some(sae) if selected == 1 => Ok((self.lm, sae, self.warnings)),
            _ => Err(Error::Argument(format!(
                "exactly one autoencoder is needed besides the model, and {selected} were selected"
            ))),
        }
    }
}

impl NamedSae {
    /// Lets it read, and unless it is a transcoder write, at `site`.
    ///
    /// # Errors
    /// When neither `site` nor its record says where it reads.
    fn place(&mut self, site: Option<Site>) -> Result<Option<Warning>> {
        let trained_at = self.sae.record().site;
        if let Some(site) = site {
            self.sae.move_to(site);
        }
        let used_at = self
            .sae
            .site()
            .map_err(|error| error.at(self.reference.clone()))?;
        let trained_at = trained_at.filter(|trained_at| *trained_at != used_at);
        Ok(trained_at.map(|trained_at| Warning::OtherSite {
            sae: self.reference.clone(),
            trained_at,
            used_at,
        }))
    }

    fn other_model(&self, model: &str) -> Option<Warning> {
        let trained_on = self.sae.record().model.as_deref()?;
        (!same_name(trained_on, model)).then(|| Warning::OtherModel {
            sae: self.reference.clone(),
            trained_on: trained_on.to_owned(),
            used_on: model.to_owned(),
        })
    }

    /// Ways in which texts differ from those that it was trained on: the token that they begin with,
    /// their length. `ids` are the tokens of each text.
    pub fn check_texts(
        &self,
        lm: &LanguageModel,
        texts: &[Text],
        ids: &[Vec<u32>],
    ) -> Vec<Warning> {
        let record = self.sae.record();
        let bos = lm.tokenizer.bos();
        let mut warnings = Vec::new();
        if let (Some(trained_with), Some(_)) = (record.prepend_bos, bos) {
            let begins = |ids: &Vec<u32>| ids.first().copied() == bos;
            let mut others = texts
                .iter()
                .zip(ids)
                .filter(|(_, ids)| begins(ids) != trained_with)
                .peekable();
            if others.peek().is_some() {
                let given = others.any(|(text, _)| matches!(text, Text::Ids(_)));
                warnings.push(self.bos_warning(lm, trained_with, given));
            }
        }
        if let Some(context) = record.context
            && let Some((text, ids)) = texts.iter().zip(ids).find(|(_, ids)| ids.len() > context)
        {
            warnings.push(Warning::LongText {
                sae: self.reference.clone(),
                text: Some(excerpt(&lm.tokenizer.written(text))),
                tokens: ids.len(),
                context,
            });
        }
        warnings
    }

    /// The same of texts that were cut to the context, and how many of them were.
    pub fn check_cut(&self, lm: &LanguageModel, texts: &[String], cut: &CutTexts) -> Vec<Warning> {
        let texts: Vec<Text> = texts.iter().map(|text| text.as_str().into()).collect();
        let mut warnings = self.check_texts(lm, &texts, &cut.ids);
        if cut.cut > 0 {
            warnings.push(Warning::CutTexts {
                texts: cut.cut,
                context: cut.context,
            });
        }
        warnings
    }

    /// The same of sequences of a corpus, which have no text of their own.
    pub fn check_sequences(&self, lm: &LanguageModel, sequences: &[Vec<u32>]) -> Vec<Warning> {
        let record = self.sae.record();
        let longest = sequences.iter().map(Vec::len).max().unwrap_or(0);
        let mut warnings = Vec::new();
        if let Some(context) = record.context.filter(|&context| context < longest) {
            warnings.push(Warning::LongText {
                sae: self.reference.clone(),
                text: None,
                tokens: longest,
                context,
            });
        }
        let begin = begin_with_bos(&lm.tokenizer, sequences);
        if let Some(trained_with) = record.prepend_bos.filter(|&trained| trained != begin) {
            warnings.push(self.bos_warning(lm, trained_with, false));
        }
        warnings
    }

    /// `given` says that ids which were given begin in another way than the training's texts.
    fn bos_warning(&self, lm: &LanguageModel, trained_with: bool, given: bool) -> Warning {
        let remedy = match trained_with {
            true => lm.tokenizer.bos().map(|_| Bos::Always),
            // Nothing is taken off ids.
            false => (!given).then_some(Bos::Never),
        };
        Warning::Bos {
            sae: self.reference.clone(),
            trained_with,
            // In use already, it did not help.
            remedy: remedy.filter(|&remedy| remedy != lm.bos),
        }
    }
}

/// True if all sequences begin with the beginning-of-sequence token.
pub fn begin_with_bos(tokenizer: &Tokenizer, sequences: &[Vec<u32>]) -> bool {
    let bos = tokenizer.bos();
    bos.is_some() && sequences.iter().all(|ids| ids.first().copied() == bos)
}
