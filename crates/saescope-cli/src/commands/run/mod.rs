//! `saescope run`

mod chat;

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use saescope::chat::{Attachments, Conversation, read_list};
use saescope::complete::{Completion, CompletionRequest, EndedBy, complete};
use saescope::edit::Edit;
use saescope::generate::Prompt;
use saescope::origin::Origin;
use saescope::steer::Steer;
use serde::Serialize;

use crate::args::edits::EditsArgs;
use crate::args::model::{ModelArgs, ids, prompt};
use crate::args::sampling::SamplingArgs;
use crate::print;
use crate::usage::{ensure_usage, usage};
use saescope::session::LanguageModel;
use saescope::tokenizer::Text;

/// Generate text
///
/// With one prompt, the prompt and its continuation appear token by token. Without a prompt the command
/// reads one from standard input; on a terminal it reads line after line, a conversation if the model
/// has a chat template.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  saescope run tests/data/stories260K -p \"Once upon a time\" -n 40 --temperature 0
  saescope run tests/data/stories260K -p \"Lily had a\" -p \"Tim had a\" -n 20 --seed 7 --top-p 0.9
  saescope run tests/data/stories260K -p \"One day\" -n 100 --stop . --json
")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A text to continue; `-` reads it from standard input. May be given several times
    #[arg(
        short,
        long = "prompt",
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    prompt: Vec<String>,
    /// The ids of a prompt's tokens in place of it, such as 464,2068, as they are unless --bos always
    /// adds BOS; `-` reads them from standard input. May be given several times
    #[arg(long, value_name = "IDS", conflicts_with_all = ["chat", "system", "tools", "documents"])]
    ids: Vec<String>,
    /// End the text before this string. May be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Continuations of each prompt, with the seeds N, N+1, …
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Ask each prompt as a question, in the model's chat template
    #[arg(long)]
    chat: bool,
    /// System message of the conversation; implies --chat
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Tools that the model may call, a JSON list of objects, for the chat template; implies --chat
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// Documents that the model may quote, a JSON list of objects, for the chat template; implies --chat
    #[arg(long, value_name = "FILE")]
    documents: Option<PathBuf>,
    #[command(flatten)]
    edits: EditsArgs,
    /// Print JSON: an object, or a list of them when there are several prompts or samples
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// The JSON of one continuation.
#[derive(Serialize)]
struct RunReport<'a> {
    #[serde(flatten)]
    origin: Origin,
    prompt: &'a str,
    text: String,
    tokens: Vec<u32>,
    prompt_tokens: &'a [u32],
    temperature: f32,
    #[serde(flatten)]
    ended_by: EndedBy,
    tokens_per_s: f64,
}

/// An open model with the settings by which it writes.
pub(crate) struct Writer<'a> {
    args: &'a Args,
    opened: &'a LanguageModel,
    edits: &'a [Edit],
    steer: Steer<'a>,
    attachments: Attachments,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let prompts = prompts(args)?;
    let list = |path: &Option<PathBuf>| path.as_deref().map(read_list).transpose();
    let attachments = Attachments {
        tools: list(&args.tools)?,
        documents: list(&args.documents)?,
    };
    let opened = args.model.open()?;
    let edits = args.edits.open(&opened)?;
    let mut writer = Writer {
        args,
        opened: &opened,
        edits: &edits.edits,
        steer: edits.hook()?,
        attachments,
    };
    if prompts.is_empty() {
        ensure_usage!(
            args.samples == 1,
            "--samples: a conversation has one answer; give a prompt with -p"
        );
        let is_chat = writer.chats() || writer.has_template();
        let conversation = is_chat.then(|| writer.conversation());
        return chat::converse(&mut writer, conversation);
    }
    let mut encoded = Vec::with_capacity(prompts.len());
    for prompt in &prompts {
        encoded.push(writer.encode(prompt)?);
    }
    let prompts: Vec<_> = prompts
        .iter()
        .map(|prompt| opened.tokenizer.written(prompt))
        .collect();
    if args.json {
        print_json(&mut writer, &prompts, &encoded)
    } else if let ([prompt], [tokens], 1) = (&prompts[..], &encoded[..], args.samples) {
        let echo = if writer.chats() { "" } else { prompt };
        writer.stream(echo, tokens.clone()).map(drop)
    } else {
        print_labelled(&mut writer, &prompts, &encoded)
    }
}

impl Writer<'_> {
    fn chats(&self) -> bool {
        let Args {
            chat,
            system,
            tools,
            documents,
            ..
        } = self.args;
        *chat || system.is_some() || tools.is_some() || documents.is_some()
    }

    /// A conversation before its first question.
    fn conversation(&self) -> Conversation {
        let mut conversation = Conversation::new(self.args.system.as_deref());
        conversation.attach(self.attachments.clone());
        conversation
    }

    fn has_template(&self) -> bool {
        self.opened.tokenizer.chat_template().is_some()
    }

    /// The tokens of a prompt, or of the conversation that it opens.
    pub(crate) fn encode(&self, prompt: &Text) -> anyhow::Result<Vec<u32>> {
        match prompt {
            Text::Written(prompt) if self.chats() => {
                let mut conversation = self.conversation();
                conversation.ask(prompt);
                self.encode_conversation(&conversation)
            }
            _ => Ok(self.opened.encode_one(prompt)?),
        }
    }

    /// The tokens of a conversation.
    pub(crate) fn encode_conversation(&self, all: &Conversation) -> anyhow::Result<Vec<u32>> {
        Ok(all.encode(&self.opened.tokenizer)?)
    }

    /// Shows `echo`, then the continuation of `tokens` token by token; returns the continuation.
    pub(crate) fn stream(&mut self, echo: &str, tokens: Vec<u32>) -> anyhow::Result<String> {
        let mut out = print::stdout();
        let mut show = |text: &str| out.write_all(text.as_bytes()).and_then(|()| out.flush());
        // The prompt is shown after the model has accepted it, so that an error stands alone.
        let mut echo = Some(echo);
        let mut failed = None;
        let started = Instant::now();
        let prompt = Prompt {
            tokens,
            seed: self.args.sampling.seed,
        };
        let completions = self.complete(&[prompt], &mut |_, text| match show(
            echo.take().unwrap_or(""),
        )
        .and_then(|()| show(text))
        {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        show(echo.unwrap_or(""))?;
        show("\n")?;
        let completion = completions
            .into_iter()
            .next()
            .context("the model wrote nothing")?;
        if io::stderr().is_terminal() {
            let rate = completion.tokens.len() as f64 / started.elapsed().as_secs_f64();
            print::note!("({} tokens, {rate:.1} per second)", completion.tokens.len());
        }
        Ok(completion.text)
    }

    /// Every sample of every prompt, the samples of a prompt one after another, and the number of
    /// tokens per second of all together.
    fn samples(&mut self, prompts: &[Vec<u32>]) -> anyhow::Result<(Vec<Sample>, f64)> {
        let seed = |sample| self.args.sampling.seed.wrapping_add(u64::from(sample));
        let seeds: Vec<u64> = (0..self.args.samples).map(seed).collect();
        let all: Vec<Prompt> = prompts
            .iter()
            .flat_map(|tokens| {
                seeds.iter().map(|&seed| Prompt {
                    tokens: tokens.clone(),
                    seed,
                })
            })
            .collect();
        let started = Instant::now();
        let completions = self.complete(&all, &mut |_, _| ControlFlow::Continue(()))?;
        let tokens: usize = completions
            .iter()
            .map(|completion| completion.tokens.len())
            .sum();
        let rate = tokens as f64 / started.elapsed().as_secs_f64();
        let per_prompt = seeds.len();
        let sample = |(i, completion)| Sample {
            prompt: i / per_prompt,
            seed: seeds[i % per_prompt],
            completion,
        };
        Ok((
            completions.into_iter().enumerate().map(sample).collect(),
            rate,
        ))
    }

    fn complete(
        &mut self,
        prompts: &[Prompt],
        on_text: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> anyhow::Result<Vec<Completion>> {
        let LanguageModel {
            model, tokenizer, ..
        } = self.opened;
        let sampling = self.args.sampling.sampling(tokenizer.eos_ids());
        let request = CompletionRequest {
            prompts,
            sampling: &sampling,
            stops: &self.args.stop,
        };
        Ok(complete(
            model,
            tokenizer,
            request,
            &mut self.steer,
            on_text,
        )?)
    }
}

/// One continuation of a prompt.
struct Sample {
    /// Number of the prompt.
    prompt: usize,
    seed: u64,
    completion: Completion,
}

fn print_json(
    writer: &mut Writer,
    prompts: &[Cow<str>],
    encoded: &[Vec<u32>],
) -> anyhow::Result<()> {
    let args = writer.args;
    let (samples, tokens_per_s) = writer.samples(encoded)?;
    let (lm, edits) = (writer.opened, writer.edits);
    let report = |Sample {
                      prompt,
                      seed,
                      completion,
                  }| {
        RunReport {
            origin: Origin {
                edits: edits.to_vec(),
                seed: Some(seed),
                ..lm.origin()
            },
            prompt: &prompts[prompt],
            text: completion.text,
            tokens: completion.tokens,
            prompt_tokens: &encoded[prompt],
            temperature: args.sampling.temperature,
            ended_by: completion.ended_by,
            tokens_per_s,
        }
    };
    let reports: Vec<RunReport> = samples.into_iter().map(report).collect();
    match reports.as_slice() {
        [one] => print::json(one),
        several => print::json(&several),
    }
}

fn print_labelled(
    writer: &mut Writer,
    prompts: &[Cow<str>],
    encoded: &[Vec<u32>],
) -> anyhow::Result<()> {
    let (samples, _) = writer.samples(encoded)?;
    let mut out = print::stdout();
    for Sample {
        prompt,
        seed,
        completion,
    } in samples
    {
        let echo = if writer.chats() { "" } else { &prompts[prompt] };
        let text = completion.text;
        writeln!(out, "[prompt {}, seed {seed}]\n{echo}{text}\n", prompt + 1)?;
    }
    Ok(())
}

/// The prompts of the call, or the one on standard input; none if a person types them.
fn prompts(args: &Args) -> anyhow::Result<Vec<Text>> {
    let given = || args.prompt.iter().chain(&args.ids);
    if given().next().is_none() && io::stdin().is_terminal() {
        if args.json {
            usage!("--json needs a prompt: give one with -p or --ids, or pipe it in");
        }
        return Ok(Vec::new());
    }
    if given().filter(|prompt| *prompt == "-").count() > 1 {
        usage!("only one prompt can be `-`, standard input");
    }
    if given().next().is_none() {
        return Ok(vec![prompt("-")?.into()]);
    }
    let written = args
        .prompt
        .iter()
        .map(|given| prompt(given).map(Text::from));
    written
        .chain(args.ids.iter().map(|given| ids(given)))
        .collect()
}
