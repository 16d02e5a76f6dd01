//! Bounds on the steps and the memory of rendering a template.
//!
//! Fuel, which `minijinja` counts, ends a template that runs on, but thirty doublings of a string take a
//! hundred steps and all memory. Therefore everything that can make a result larger than its operands
//! asks a [`Budget`] first: filters, methods, output, and the operators of `program`.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{DynObject, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, filters};

/// Most steps of a template; the longest real ones take some hundred for each message.
const FUEL: u64 = 1_000_000;
/// Most bytes that a template may build, intermediate results included.
const BUDGET: usize = 64 << 20;
/// Most nested values that may be walked to measure their depth. A list that grows by one, five hundred
/// times, takes half of them.
const VISITS: usize = 1 << 18;
/// Deepest nesting of values; JSON schemas of tools are the deepest that templates meet.
const DEPTH: usize = 64;
/// Bytes of an element of a list or a map, beside its own content.
pub(super) const ELEMENT: usize = 32;

/// Steps and memory that a template has left.
#[derive(Clone)]
pub(super) struct Budget {
    bytes: Arc<AtomicUsize>,
    visits: Arc<AtomicUsize>,
}

impl Budget {
    pub(super) fn new() -> Budget {
        Budget {
            bytes: Arc::new(AtomicUsize::new(BUDGET)),
            visits: Arc::new(AtomicUsize::new(VISITS)),
        }
    }

    pub(super) fn charge(&self, bytes: usize) -> Result<(), Error> {
        let take = |left: usize| left.checked_sub(bytes);
        match self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(refused(format!("it builds more than {} MB", BUDGET >> 20))),
        }
    }

    /// The bytes that `value` holds.
    ///
    /// # Errors
    /// When they exceed the budget.
    fn weigh(&self, value: &Value) -> Result<usize, Error> {
        let mut left = self.bytes.load(Ordering::Relaxed);
        let all = left;
        if !weigh(value, DEPTH, &mut left)? {
            self.charge(usize::MAX)?;
        }
        Ok(all - left)
    }

    /// The bytes that `value` takes as text: a text's own, or those of a representation, in which
    /// an unprintable byte takes eight.
    pub(super) fn written(&self, value: &Value) -> Result<usize, Error> {
        match value.as_str() {
            Some(text) => Ok(text.len()),
            None => Ok(self.weigh(value)?.saturating_mul(8)),
        }
    }
}

/// Takes the weight of `value` from `left`; false when there is not enough.
fn weigh(value: &Value, depth: usize, left: &mut usize) -> Result<bool, Error> {
    let own = value.as_str().map_or(ELEMENT, str::len);
    let Some(rest) = left.checked_sub(own) else {
        return Ok(false);
    };
    *left = rest;
    if !is_container(value) {
        return Ok(true);
    }
    if depth == 0 {
        return Err(refused(format!(
            "its values are nested deeper than {DEPTH}"
        )));
    }
    for key in value.try_iter()? {
        let Some(rest) = left.checked_sub(ELEMENT) else {
            return Ok(false);
        };
        *left = rest;
        let element = match value.kind() {
            ValueKind::Map => value.get_item(&key)?,
            _ => Value::UNDEFINED,
        };
        if !weigh(&key, depth - 1, left)? || !weigh(&element, depth - 1, left)? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn refused(reason: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// Number of elements of a list or map.
pub(super) fn count(value: &Value) -> usize {
    match value.len() {
        Some(n) => n,
        None => value.try_iter().map_or(0, Iterator::count),
    }
}

/// True if `value` holds other values.
pub(super) fn is_container(value: &Value) -> bool {
    let kind = value.kind();
    matches!(kind, ValueKind::Seq | ValueKind::Iterable | ValueKind::Map)
}

/// Makes every function, filter, method and output of `environment` ask `budget`.
pub(super) fn limit(environment: &mut Environment<'static>, budget: &Budget) {
    environment.set_fuel(Some(FUEL));
    for (name, filter) in known_filters() {
        let budget = budget.clone();
        let limited = move |state: &State, args: Rest<Value>| {
            budget.charge(cost(&budget, name, &args)?)?;
            filter.call(state, &args)
        };
        environment.add_filter(name, limited);
    }
    for name in ["batch", "slice", "sum", "zip", "chain", "indent", "pprint"] {
        environment.remove_filter(name);
    }
    environment.remove_global("debug");
    for name in ["dict", "namespace"] {
        let Some((_, function)) = environment.globals().find(|(known, _)| *known == name) else {
            continue;
        };
        let budget = budget.clone();
        let limited = move |state: &State, args: Rest<Value>| {
            args.iter().try_for_each(|arg| nested(&budget, arg))?;
            budget.charge(args.iter().map(count).sum::<usize>() * ELEMENT)?;
            function.call(state, &args)
        };
        environment.add_function(name, limited);
    }
    let methods = budget.clone();
    environment.set_unknown_method_callback(move |state, value, method, args| {
        let all = [std::slice::from_ref(value), args].concat();
        methods.charge(cost(&methods, method, &all)?)?;
        minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
    });
    let output = budget.clone();
    environment.set_formatter(move |out: &mut Output, state: &State, value: &Value| {
        output.charge(output.written(value)?)?;
        minijinja::escape_formatter(out, state, value)
    });
}

macro_rules! builtin {
    ($($name:ident),* $(,)?) => {
        [$((stringify!($name), Value::from_function(filters::$name))),*]
    };
}

/// The filters of Jinja whose cost is known; others are not available.
fn known_filters() -> Vec<(&'static str, Value)> {
    let mut all = builtin![
        abs, attr, bool, capitalize, default, dictsort, escape, first, float, format, groupby, int,
        items, join, last, length, lines, list, lower, map, max, min, reject, rejectattr, replace,
        reverse, round, safe, select, selectattr, sort, split, string, title, trim, unique, upper,
    ]
    .to_vec();
    all.push(("tojson", Value::from_function(super::json::to_json)));
    for (alias, name) in [("count", "length"), ("d", "default"), ("e", "escape")] {
        if let Some((_, filter)) = all.iter().find(|(known, _)| *known == name) {
            all.push((alias, filter.clone()));
        }
    }
    all
}

/// An upper bound of the bytes that a filter or method builds, give or take a small factor.
fn cost(budget: &Budget, name: &str, args: &[Value]) -> Result<usize, Error> {
    let text = |at: usize| args.get(at).and_then(Value::as_str);
    let written = |at: usize| args.get(at).map_or(Ok(0), |arg| budget.written(arg));
    let all = || {
        let mut each = args.iter().map(|arg| budget.written(arg));
        each.try_fold(0, |sum: usize, arg| {
            Ok::<_, Error>(sum.saturating_add(arg?))
        })
    };
    Ok(match name {
        "startswith" | "endswith" | "find" | "rfind" | "count" | "length" | "get" | "default"
        | "bool" => 0,
        "replace" => {
            let matches = match (text(0), text(1)) {
                (Some(text), Some(old)) => text.matches(old).count(),
                _ => written(0)?.saturating_add(1),
            };
            written(0)?.saturating_add(matches.saturating_mul(written(2)?))
        }
        "join" => {
            // The method's separator comes first, the filter's last.
            let (separator, list) = match text(0) {
                Some(_) if args.get(1).is_some_and(is_container) => (0, 1),
                _ => (1, 0),
            };
            let elements = args.get(list).map_or(0, count);
            all()?.saturating_add(elements.saturating_mul(written(separator)?))
        }
        "format" => {
            let pattern = text(0).unwrap_or("");
            let wide = |digits: &str| digits.len() > 2;
            if pattern.contains('*') || pattern.split(|c: char| !c.is_ascii_digit()).any(wide) {
                return Err(refused("it formats by widths above 99"));
            }
            let places = pattern.matches(['%', '{']).count();
            all()?.saturating_add(100).saturating_mul(places + 1)
        }
        "list" | "lines" | "reverse" | "split" | "splitlines" if text(0).is_some() => {
            written(0)?.saturating_mul(ELEMENT)
        }
        "attr" | "dictsort" | "first" | "items" | "keys" | "last" | "list" | "map" | "max"
        | "min" | "reject" | "rejectattr" | "reverse" | "select" | "selectattr" | "values" => {
            let elements = args.iter().filter(|arg| is_container(arg)).map(count);
            elements.fold(ELEMENT, |sum, n| {
                sum.saturating_add(n.saturating_mul(ELEMENT))
            })
        }
        // Filters that make a text of any value, or copy the texts of a list to compare them.
        _ => all()?.saturating_mul(2),
    })
}

/// Refuses a value that is nested too deep, or within itself, to be walked to its end.
pub(super) fn nested(budget: &Budget, value: &Value) -> Result<(), Error> {
    let mut left = budget.visits.load(Ordering::Relaxed);
    let walked = walk(value, DEPTH, &mut left);
    budget.visits.store(left, Ordering::Relaxed);
    walked
}

fn walk(value: &Value, depth: usize, visits: &mut usize) -> Result<(), Error> {
    if !is_container(value) {
        return Ok(());
    }
    let namespace = |object: &DynObject| object.type_name().ends_with("Namespace");
    if value.as_object().is_some_and(namespace) {
        return Err(refused(
            "it puts a namespace, which can change, into a value",
        ));
    }
    let Some(depth) = depth.checked_sub(1) else {
        return Err(refused(format!(
            "its values are nested deeper than {DEPTH}"
        )));
    };
    for key in value.try_iter()? {
        *visits = visits
            .checked_sub(1)
            .ok_or_else(|| refused("it has too many values"))?;
        if value.kind() == ValueKind::Map {
            walk(&value.get_item(&key)?, depth, visits)?;
        }
        walk(&key, depth, visits)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::{ChatTemplate, Message};

    fn render(source: &str) -> crate::error::Result<String> {
        let template = ChatTemplate::new(source, None, None)?;
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
            let writes = format!("{{{{ {write} }}}}").repeat(20);
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
            with("[]", "{% set ns.x = [ns] %}{{ ns == ns }}"),
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
