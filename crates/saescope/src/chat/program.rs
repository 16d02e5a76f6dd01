//! A template as a program whose instructions keep within a [`Budget`].
//!
//! Instructions whose result can be larger than their operands are replaced by calls of functions that
//! ask the budget first. No template can write the names of these functions.

use std::sync::Arc;

use minijinja::machinery::{
    CompiledTemplate, Instruction, Instructions, TemplateConfig, Token, Vm, WhitespaceConfig,
    make_string_output, tokenize,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Rest;
use minijinja::{AutoEscape, Environment, Error, Value, context};

use super::limits::{Budget, ELEMENT, count, is_container, nested, refused};

/// Renders `source` within the limits of `environment`.
pub(super) fn render(
    environment: &Environment<'_>,
    source: &str,
    values: Value,
) -> Result<String, Error> {
    let mut template = compile(source)?;
    let instructions = limited(&template.instructions)?;
    for block in template.blocks.values_mut() {
        *block = limited(block)?;
    }
    let mut text = String::new();
    let mut output = make_string_output(&mut text);
    let auto_escape = template.initial_auto_escape;
    Vm::new(environment).eval(
        &instructions,
        values,
        &template.blocks,
        &mut output,
        auto_escape,
    )?;
    drop(output);
    Ok(text)
}

/// Compiles a template as transformers' Jinja environment would, for which it was written.
pub(super) fn compile(source: &str) -> Result<CompiledTemplate<'_>, Error> {
    let config = TemplateConfig {
        syntax_config: SyntaxConfig,
        ws_config: WhitespaceConfig {
            keep_trailing_newline: false,
            lstrip_blocks: true,
            trim_blocks: true,
        },
        default_auto_escape: Arc::new(|_| AutoEscape::None),
    };
    refuse_repeated_constants(source, &config)?;
    CompiledTemplate::new("chat_template", source, &config)
}

/// Refuses `*` unless one side is a variable or both are numbers: constants are multiplied when a template
/// is compiled, before any budget can be asked.
fn refuse_repeated_constants(source: &str, config: &TemplateConfig) -> Result<(), Error> {
    let tokens = tokenize(
        source,
        false,
        config.syntax_config.clone(),
        config.ws_config,
    );
    // The compiler reports text that cannot be cut into tokens.
    let tokens: Vec<Token> = tokens
        .map_while(Result::ok)
        .map(|(token, _)| token)
        .collect();
    let variable = |token: &Token| matches!(token, Token::Ident(_));
    let number = |token: &Token| matches!(token, Token::Int(_) | Token::Float(_));
    let repeats = tokens.windows(3).any(|three| {
        let [left, Token::Mul, right] = three else {
            return false;
        };
        !(variable(left) || variable(right) || number(left) && number(right))
    });
    if repeats {
        return Err(refused("it multiplies values that may be constants"));
    }
    Ok(())
}

/// The same program, which asks the budget before it makes a larger value.
fn limited<'s>(program: &Instructions<'s>) -> Result<Instructions<'s>, Error> {
    let mut all = Vec::new();
    // New index of each instruction.
    let mut places = Vec::new();
    while let Some(instruction) = program.get(places.len() as u32) {
        let line = program.get_line(places.len() as u32).unwrap_or(0);
        places.push(all.len() as u32);
        all.extend(
            stand_in(instruction)?
                .into_iter()
                .map(|instruction| (instruction, line)),
        );
    }
    places.push(all.len() as u32);
    let mut out = Instructions::new(program.name(), program.source());
    for (mut instruction, line) in all {
        if let Instruction::Iterate(to)
        | Instruction::Jump(to)
        | Instruction::JumpIfFalse(to)
        | Instruction::JumpIfFalseOrPop(to)
        | Instruction::JumpIfTrueOrPop(to)
        | Instruction::BuildMacro(_, to, _) = &mut instruction
        {
            *to = places[*to as usize];
        }
        out.add_with_line(instruction, line as u16);
    }
    Ok(out)
}

/// The instructions that replace an instruction.
fn stand_in<'s>(instruction: &Instruction<'s>) -> Result<Vec<Instruction<'s>>, Error> {
    use Instruction::{CallFunction, Emit, LoadConst, Swap};
    let few = |n: usize| u16::try_from(n).map_err(|_| refused("it writes too long a list"));
    Ok(vec![match instruction {
        Instruction::EmitRaw(text) => {
            let text = Value::from_safe_string((*text).to_owned());
            return Ok(vec![LoadConst(text), Emit]);
        }
        Instruction::SetAttr(_) => {
            let checked = CallFunction(".=", Some(1));
            return Ok(vec![Swap, checked, Swap, instruction.clone()]);
        }
        Instruction::Add => CallFunction("+", Some(2)),
        Instruction::StringConcat => CallFunction("~", Some(2)),
        Instruction::Mul => CallFunction("*", Some(2)),
        Instruction::Slice => CallFunction("[:]", Some(4)),
        Instruction::BuildList(Some(n)) => CallFunction("[]", Some(few(*n)?)),
        Instruction::BuildMap(n) => CallFunction("{}", Some(few(2 * n)?)),
        Instruction::UnpackLists(_) | Instruction::MergeKwargs(_) => {
            return Err(refused("it unpacks arguments, which is not supported"));
        }
        other => other.clone(),
    }])
}

/// Adds the functions that stand in for instructions.
pub(super) fn add_operators(environment: &mut Environment<'static>, budget: &Budget) {
    let of = budget.clone();
    environment.add_function("+", move |a: Value, b: Value| {
        match (a.as_str(), b.as_str()) {
            (Some(_), Some(_)) => concat(&of, &a, &b),
            _ => {
                if is_container(&a) && is_container(&b) {
                    of.charge(count(&a).saturating_add(count(&b)).saturating_mul(ELEMENT))?;
                }
                evaluate("a + b", context! { a, b })
            }
        }
    });
    let of = budget.clone();
    environment.add_function("~", move |a: Value, b: Value| concat(&of, &a, &b));
    let of = budget.clone();
    environment.add_function("*", move |a: Value, b: Value| {
        for (repeated, times) in [(&a, &b), (&b, &a)] {
            let size = match repeated.as_str() {
                Some(text) => text.len(),
                None if is_container(repeated) => count(repeated).saturating_mul(ELEMENT),
                None => continue,
            };
            of.charge(size.saturating_mul(times.as_usize().unwrap_or(0)))?;
        }
        evaluate("a * b", context! { a, b })
    });
    let of = budget.clone();
    environment.add_function("[:]", move |v: Value, a: Value, b: Value, c: Value| {
        let size = v
            .as_str()
            .map_or_else(|| count(&v).saturating_mul(ELEMENT), str::len);
        of.charge(size)?;
        evaluate("v[a:b:c]", context! { v, a, b, c })
    });
    let of = budget.clone();
    environment.add_function("[]", move |items: Rest<Value>| {
        items.iter().try_for_each(|item| nested(&of, item))?;
        of.charge(items.len() * ELEMENT)?;
        Ok::<_, Error>(Value::from(items.0))
    });
    let of = budget.clone();
    environment.add_function("{}", move |pairs: Rest<Value>| {
        pairs.iter().try_for_each(|item| nested(&of, item))?;
        of.charge(pairs.len() * ELEMENT)?;
        let pairs = pairs
            .chunks_exact(2)
            .map(|pair| (pair[0].clone(), pair[1].clone()));
        Ok::<_, Error>(pairs.collect::<Value>())
    });
    let of = budget.clone();
    environment.add_function(".=", move |value: Value| {
        nested(&of, &value).map(|()| value)
    });
}

fn concat(budget: &Budget, a: &Value, b: &Value) -> Result<Value, Error> {
    budget.charge(budget.written(a)?.saturating_add(budget.written(b)?))?;
    Ok(Value::from(format!("{a}{b}")))
}

/// Evaluates an operator after the budget was asked.
fn evaluate(expression: &'static str, operands: Value) -> Result<Value, Error> {
    let environment = Environment::empty();
    let expression = environment.compile_expression(expression)?;
    // The error's line is one of this expression and not of the template, so it is dropped.
    expression.eval(operands).map_err(|error| {
        let reason = error.detail().unwrap_or("cannot be computed").to_owned();
        Error::new(error.kind(), reason)
    })
}

#[cfg(test)]
mod tests {
    use super::super::{ChatTemplate, Message};

    fn render(source: &str) -> crate::error::Result<String> {
        let template = ChatTemplate::new(source, None, None)?;
        template.render_prompt(&[Message::new("user", "hello")])
    }

    /// Compares with the engine without limits.
    #[test]
    fn limited_operators_agree_with_those_of_jinja() {
        let plain = |source: &str| {
            let messages = [Message::new("user", "hello")];
            let mut environment = minijinja::Environment::new();
            environment.set_trim_blocks(true);
            environment.set_lstrip_blocks(true);
            environment.render_str(source, minijinja::context! { messages })
        };
        let cases = [
            "{{ 1 + 2 }} {{ 'a' + 'b' }} {{ [1] + [2, 'c'] }} {{ 2 * 3 - 1 }}",
            "{{ 'a' ~ 1 ~ none ~ nothing ~ [1] }}",
            "{% set n = 3 %}{{ 'ab' * n }} {{ [1] * n }} {{ n * 2.5 }}",
            "{{ 'hello'[1:3] }} {{ [1, 2, 3][::-1] }} {{ messages[1:] }}",
            "{{ {'a': 1, 'b': [2]}.b }} {{ [] }} {{ {} }} {{ [n, 1][1] }} {{ {'k': n} }}",
            "{% if 0 %}a{% elif 1 %}b{% else %}c{% endif %}d",
            "{% for i in [3, 4] if i > 3 %}<{{ i }}>{% else %}none{% endfor %}.",
            "{% for i in [] %}{{ i }}{% else %}none{% endfor %}.",
            "{% macro m(x, y=2) %}({{ x }}{{ y }}){% endmacro %}{{ m(1) }}{{ m(1, 3) }}",
            "{% set x %}a{{ 1 }}{% endset %}{{ x }}{{ x | upper }}",
            "{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 1 %}{{ ns.a }}",
            "{{ 1 and 0 or 'x' }}{{ 1 if not 0 }}{{ '%02d' | format(7) }}",
            "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "{% for x in [[1], [2]] recursive %}{{ x if x is number else loop(x) }}{% endfor %}",
            "{% block b %}x{{ 1 + 1 }}{% endblock %} {{ messages | map(attribute='role') | join(',') }}",
            "{% autoescape true %}<{{ '<' }}{% endautoescape %}",
            "{% filter upper %}a{{ 'b' }}{% endfilter %} \n {% if 1 %}\n  x\n {% endif %}\n",
        ];
        for source in cases {
            assert_eq!(render(source).unwrap(), plain(source).unwrap(), "{source}");
        }
        let error = render("\n\n{{ [] + 1 }}").unwrap_err().to_string();
        assert!(
            error.contains("line 3") && error.contains("unsupported types"),
            "{error}"
        );
    }
}
