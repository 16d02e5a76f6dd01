//! Bounds on the steps, the memory and the depth of a template.

use std::cell::Cell;

use super::fault::{Fault, fault};

/// Most steps of a template; the longest real ones take some hundred for each message.
const STEPS: usize = 1_000_000;
/// Most bytes that a template may build, intermediate results included.
const BUDGET: usize = 64 << 20;
/// Deepest nesting of values; JSON schemas of tools are the deepest that templates meet.
pub(super) const DEPTH: usize = 64;
/// Deepest nesting of expressions, blocks and calls while a template runs.
const CALLS: usize = 1000;
/// Bytes of an element of a list or a map, beside its own content.
pub(super) const ELEMENT: usize = 48;
/// Bytes of text that are read in one step.
const SCAN: usize = 1024;

/// Steps, memory and depth that a template has left.
pub(super) struct Limits {
    steps: Cell<usize>,
    bytes: Cell<usize>,
    calls: Cell<usize>,
}

impl Limits {
    pub(super) fn new() -> Limits {
        Limits {
            steps: Cell::new(STEPS),
            bytes: Cell::new(BUDGET),
            calls: Cell::new(CALLS),
        }
    }

    /// Takes `count` steps.
    pub(super) fn step(&self, count: usize) -> Result<(), Fault> {
        let left = self.steps.get().checked_sub(count);
        self.steps
            .set(left.ok_or_else(|| fault("it does not come to an end"))?);
        Ok(())
    }

    /// Takes the steps of reading `bytes` of text.
    pub(super) fn scan(&self, bytes: usize) -> Result<(), Fault> {
        self.step(bytes / SCAN)
    }

    /// Takes the memory of a text of `bytes`, and the steps of writing it.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Fault> {
        let left = self.bytes.get().checked_sub(bytes);
        let reason = || fault(format!("it builds more than {} MB", BUDGET >> 20));
        self.bytes.set(left.ok_or_else(reason)?);
        self.scan(bytes)
    }

    /// Takes the memory of `count` elements.
    pub(super) fn elements(&self, count: usize) -> Result<(), Fault> {
        self.charge(count.saturating_mul(ELEMENT))
    }

    /// Gives the memory of `count` elements back, which nothing holds any more.
    pub(super) fn release(&self, count: usize) {
        self.bytes.set(self.bytes.get() + count * ELEMENT);
    }

    /// Runs `inner` one level deeper.
    pub(super) fn deeper<T>(&self, inner: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let Some(left) = self.calls.get().checked_sub(1) else {
            return Err(fault("it calls itself without an end"));
        };
        self.calls.set(left);
        let value = inner();
        self.calls.set(left + 1);
        value
    }
}

/// The depth of a value that holds values of these depths.
pub(super) fn deepen(inner: impl Iterator<Item = usize>) -> Result<usize, Fault> {
    let depth = inner.max().unwrap_or(0) + 1;
    if depth > DEPTH {
        return Err(fault(format!("its values are nested deeper than {DEPTH}")));
    }
    Ok(depth)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::chat::{ChatTemplate, Message};

    fn render(source: &str) -> crate::error::Result<String> {
        let template = ChatTemplate::new(source, Vec::new())?;
        template.render_prompt(&[Message::new("user", "hello")])
    }

    /// A template whose `ns.x` is `first` before `body`.
    fn with(first: &str, body: &str) -> String {
        format!("{{% set ns = namespace(x={first}, n=1000000) %}}{body}")
    }

    /// A template that runs `body` with `ns.x` 60 times.
    fn again(first: &str, body: &str) -> String {
        let body = format!("{{% for i in range(60) %}}{body}{{% endfor %}}{{{{ ns.x }}}}");
        with(first, &body)
    }

    /// Templates that double a size in every round, in each way that Jinja has.
    fn doubling() -> Vec<String> {
        let texts = [
            "ns.x ~ ns.x",
            "ns.x + ns.x",
            "ns.x * 2",
            "[ns.x, ns.x] | join('')",
            "ns.x | replace('a', 'aa')",
            "ns.x.replace('a', 'aa')",
            "'%s%s' | format(ns.x, ns.x)",
            "'%s%s' % (ns.x, ns.x)",
            "'{0}{0}'.format(ns.x)",
            "ns.x.join([ns.x, ns.x])",
            "ns.x ~ (ns.x | tojson)",
        ];
        let lists = [
            "ns.x + ns.x",
            "(ns.x + ns.x) | list",
            "ns.x * 2",
            "[ns.x, ns.x]",
            "{'a': ns.x, 'b': ns.x}",
        ];
        let set = |value: &&str| format!("{{% set ns.x = {value} %}}");
        let texts = texts.iter().map(|x| again("'aaaa'", &set(x)));
        let lists = lists.iter().map(|x| again("[1, 2]", &set(x)));
        let capture = "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}";
        let unrolled = "{% set x = x ~ x %}".repeat(60);
        let others = [
            again("'aaaa'", capture),
            format!("{{% set x = 'aaaa' %}}{unrolled}{{{{ x }}}}"),
            "{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('aaaa') }}".to_owned(),
        ];
        texts.chain(lists).chain(others).collect()
    }

    /// Templates with one large result, many large values, or values without an end.
    fn large() -> Vec<String> {
        let shared = "{% set ns.x = [ns.x, ns.x] %}".repeat(14);
        let writes = [
            "ns.x | upper",
            "ns.x ~ ''",
            "ns.x",
            "ns.x | tojson",
            "[ns.x] | join",
        ];
        let written = writes.iter().map(|write| {
            let writes = format!("{{{{ {write} }}}}").repeat(200);
            with("['\\x01']", &format!("{shared}{writes}"))
        });
        let raw = "a".repeat(99_999);
        let keep = "{% for i in range(9999) %}{% set ns.x = ns.x + [s[:-1] ~ i] %}{% endfor %}";
        let nest = "{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}";
        let others = [
            with("[]", "{{ range(9999) | list | replace(',', 'a' * ns.n) }}"),
            again("'a'", "{% set ns.x = ns.x * 1000000000 %}"),
            "{{ 'aaaaaaaa' * 100000000 }}".repeat(99),
            format!("{{% for i in range(99999) %}}{raw}{{% endfor %}}"),
            "{{ '%999999999d' | format(1) }}".to_owned(),
            "{{ '%*d' | format(999999999, 1) }}".to_owned(),
            with("[]", &format!("{{% set s = 'a' * ns.n %}}{keep}")),
            with("[]", nest),
            with("[]", "{% set ns.x = ns %}{{ ns }}"),
            with("[]", "{% set ns.x = [ns] %}{{ ns }}"),
            with(
                "[]",
                "{% for i in range(99999) %}{% set ns.x = namespace(x=ns.x) %}{% endfor %}{{ ns.x }}",
            ),
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
            "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(),
            format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
            format!("{{{{ 1{} }}}}", " + 1".repeat(5000)),
            "{% if 1 %}".repeat(5000),
            "{{ (-170141183460469231731687303715884105727 - 1) // -1 }}".to_owned(),
            "{{ '{:999999999}'.format(1) }}{{ 'a'.ljust(999999999) }}".to_owned(),
            "{{ [1] | tojson(indent=999999999) }}".to_owned(),
            "{{ 'a' | indent(999999999) }}".to_owned(),
        ];
        written.chain(others).collect()
    }

    #[test]
    #[cfg(unix)]
    fn hostile_templates_are_refused_before_they_take_the_memory() {
        const NAME: &str = "hostile_templates_are_refused_before_they_take_the_memory";
        if std::env::var_os("SAESCOPE_TEST_INSIDE").is_some() {
            for source in doubling().into_iter().chain(large()) {
                let error = render(&source).unwrap_err();
                println!("{error}: {}", &source[..source.len().min(150)]);
            }
            return;
        }
        // The same in a process that is limited to 1 GB.
        let module = module_path!().split_once("::").map_or("", |(_, path)| path);
        let status = Command::new("sh")
            .args([
                "-c",
                "ulimit -v 1000000 && exec \"$0\" --exact \"$1\" --nocapture",
            ])
            .arg(std::env::current_exe().unwrap())
            .arg(format!("{module}::{NAME}"))
            .env("SAESCOPE_TEST_INSIDE", "1")
            .status();
        assert!(status.unwrap().success());
    }
}
