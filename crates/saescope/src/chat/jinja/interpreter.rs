//! Statements, carried out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::fault::{Fault, fault, raised};
use super::limits::{ELEMENT, Limits};
use super::print::text_of;
use super::syntax::{Applied, Body, Expr, For, Kind, Macro, Statement, Target};
use super::value::{Function, Loop, Namespace, Scope, Value};

/// Values that can lead back to themselves and are emptied at the end.
enum Circle {
    Namespace(Rc<Namespace>),
    Scope(Rc<Scope>),
    Loop(Rc<Loop>),
}

/// The way on after a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// The arguments of a call.
#[derive(Default)]
pub(super) struct Args {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(Arc<str>, Value)>,
}

impl Args {
    /// The arguments in the order of `names`.
    pub(super) fn take<const N: usize>(
        self,
        what: &str,
        names: [&str; N],
    ) -> Result<[Option<Value>; N], Fault> {
        if self.positional.len() > N {
            let found = self.positional.len();
            return Err(fault(format!("{what} takes {N} arguments, not {found}")));
        }
        let mut all = [const { None }; N];
        for (place, value) in all.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        for (name, value) in self.named {
            let place = names.iter().position(|known| **known == *name);
            match place.map(|at| &mut all[at]) {
                Some(place @ None) => *place = Some(value),
                Some(_) => return Err(fault(format!("{what}: `{name}` is given twice"))),
                None => return Err(fault(format!("{what} has no argument `{name}`"))),
            }
        }
        Ok(all)
    }
}

/// A template that runs.
pub(super) struct Interpreter {
    pub(super) limits: Limits,
    /// Seconds since the beginning of 1970.
    pub(super) now: u64,
    root: Rc<Scope>,
    circles: RefCell<Vec<Circle>>,
}

/// The text of a template with these variables, at a time in seconds since the beginning of 1970.
pub(super) fn run(
    body: &Body,
    variables: Vec<(Arc<str>, Value)>,
    now: u64,
) -> Result<String, Fault> {
    let context = Scope::new(variables, None);
    let interpreter = Interpreter {
        limits: Limits::new(),
        now,
        root: Scope::new(Vec::new(), Some(&context)),
        circles: RefCell::default(),
    };
    let mut out = String::new();
    let root = interpreter.root.clone();
    let result = interpreter.body(body, &root, &mut out);
    interpreter.end();
    result.map(|_| out)
}

impl Interpreter {
    /// Empties everything that could hold itself.
    fn end(&self) {
        let circles = self.circles.take();
        for circle in &circles {
            match circle {
                Circle::Namespace(namespace) => drop(namespace.attributes.take()),
                Circle::Scope(scope) => drop(scope.names.take()),
                Circle::Loop(of) => drop(of.changed.take()),
            }
        }
    }

    fn body(&self, body: &[Statement], scope: &Rc<Scope>, out: &mut String) -> Result<Flow, Fault> {
        for statement in body {
            self.limits.step(1)?;
            let flow = self
                .limits
                .deeper(|| self.statement(&statement.kind, scope, out))
                .map_err(|fault| fault.at(statement.line))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn write(&self, text: &str, out: &mut String) -> Result<(), Fault> {
        self.limits.charge(text.len())?;
        out.push_str(text);
        Ok(())
    }

    fn statement(&self, kind: &Kind, scope: &Rc<Scope>, out: &mut String) -> Result<Flow, Fault> {
        match kind {
            Kind::Text(text) => self.write(text, out)?,
            Kind::Print(values) => {
                for value in values {
                    let value = self.evaluate(value, scope)?;
                    let text = text_of(&self.limits, &value)?;
                    self.write(&text, out)?;
                }
            }
            Kind::If(branches, otherwise) => return self.choose(branches, otherwise, scope, out),
            Kind::For(of) => return self.for_loop(of, scope, out),
            Kind::Set(target, value) => {
                let value = self.evaluate(value, scope)?;
                self.assign(target, value, scope)?;
            }
            Kind::SetBlock(target, filters, body) => {
                match self.filtered_body(filters, body, scope)? {
                    Ok(value) => self.assign(target, value, scope)?,
                    Err(flow) => return Ok(flow),
                }
            }
            Kind::FilterBlock(filters, body) => match self.filtered_body(filters, body, scope)? {
                Ok(value) => self.write(&text_of(&self.limits, &value)?, out)?,
                Err(flow) => return Ok(flow),
            },
            Kind::With(values, body) => {
                let inner = Scope::new(Vec::new(), Some(scope));
                for (target, value) in values {
                    let value = self.evaluate(value, scope)?;
                    self.assign(target, value, &inner)?;
                }
                return self.body(body, &inner, out);
            }
            Kind::Macro(of) => {
                self.limits.elements(1)?;
                let value = self.closure(of, scope);
                scope.set(&of.name, value);
            }
            Kind::CallBlock(call, of) => {
                let caller = self.closure(of, scope);
                let value = self.call_with(call, Some(caller), scope)?;
                let text = text_of(&self.limits, &value)?;
                self.write(&text, out)?;
            }
            Kind::Block(block) => {
                let around = if block.scoped { scope } else { &self.root };
                self.body(&block.body, &Scope::new(Vec::new(), Some(around)), out)?;
            }
            Kind::Scope(body) => {
                return self.body(body, &Scope::new(Vec::new(), Some(scope)), out);
            }
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
            Kind::Refused(reason) => return Err(fault(*reason)),
        }
        Ok(Flow::Next)
    }

    /// The text of a body through filters, or the flow that leaves the body early.
    fn filtered_body(
        &self,
        filters: &[Applied],
        body: &Body,
        scope: &Rc<Scope>,
    ) -> Result<Result<Value, Flow>, Fault> {
        let inner = Scope::new(Vec::new(), Some(scope));
        let (text, flow) = self.captured(body, &inner)?;
        if flow != Flow::Next {
            return Ok(Err(flow));
        }
        self.filtered(text, filters, &inner).map(Ok)
    }

    fn choose(
        &self,
        branches: &[(Expr, Body)],
        otherwise: &Body,
        scope: &Rc<Scope>,
        out: &mut String,
    ) -> Result<Flow, Fault> {
        for (condition, body) in branches {
            if self.evaluate(condition, scope)?.is_true() {
                return self.body(body, scope, out);
            }
        }
        self.body(otherwise, scope, out)
    }

    /// The text that a body writes.
    fn captured(&self, body: &Body, scope: &Rc<Scope>) -> Result<(Value, Flow), Fault> {
        let mut text = String::new();
        let flow = self.body(body, scope, &mut text)?;
        Ok((Value::text(text), flow))
    }

    fn filtered(
        &self,
        mut value: Value,
        filters: &[Applied],
        scope: &Rc<Scope>,
    ) -> Result<Value, Fault> {
        for filter in filters {
            value = self.apply_filter(value, filter, scope)?;
        }
        Ok(value)
    }

    fn closure(&self, of: &Arc<Macro>, scope: &Rc<Scope>) -> Value {
        self.circles.borrow_mut().push(Circle::Scope(scope.clone()));
        Value::function(Function::Macro(of.clone(), scope.clone()))
    }

    fn assign(&self, target: &Target, value: Value, scope: &Rc<Scope>) -> Result<(), Fault> {
        self.limits.charge(ELEMENT)?;
        match target {
            Target::Name(name) => scope.set(name, value),
            Target::Attr(name, attribute) => match scope.get(name) {
                Some(Value::Namespace(namespace)) => namespace.set(attribute, value),
                _ => return Err(fault("cannot assign attribute on non-namespace object")),
            },
            Target::Tuple(targets) => {
                let values = self.iterate(&value)?;
                if values.len() != targets.len() {
                    let (count, found) = (targets.len(), values.len());
                    return Err(fault(format!(
                        "{count} values are to be unpacked, not {found}"
                    )));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value, scope)?;
                }
            }
        }
        Ok(())
    }

    fn for_loop(&self, of: &Arc<For>, scope: &Rc<Scope>, out: &mut String) -> Result<Flow, Fault> {
        let over = self.evaluate(&of.over, scope)?;
        self.iterations(of, &over, 0, scope, out)?;
        Ok(Flow::Next)
    }

    fn iterations(
        &self,
        of: &Arc<For>,
        over: &Value,
        depth: usize,
        scope: &Rc<Scope>,
        out: &mut String,
    ) -> Result<(), Fault> {
        let (mut items, is_copy) = match over {
            Value::List(all) | Value::Tuple(all) => (all.items.clone(), false),
            other => (Rc::new(self.iterate(other)?), true),
        };
        if of.asks_loop && of.condition.is_some() {
            let mut kept = Vec::new();
            for item in &*items {
                if self.is_kept(of, item, scope)? {
                    self.limits.elements(1)?;
                    kept.push(item.clone());
                }
            }
            items = Rc::new(kept);
        }
        let again = of.recursive.then(|| (of.clone(), scope.clone()));
        let state = Rc::new(Loop {
            items: items.clone(),
            index: Cell::new(0),
            depth,
            changed: RefCell::default(),
            again,
        });
        let mut is_empty = true;
        for (index, item) in items.iter().enumerate() {
            self.limits.step(1)?;
            if !of.asks_loop && !self.is_kept(of, item, scope)? {
                continue;
            }
            is_empty = false;
            state.index.set(index);
            let inner = Scope::new(Vec::new(), Some(scope));
            if of.asks_loop {
                inner.set(&Arc::from("loop"), Value::Loop(state.clone()));
            }
            self.assign(&of.target, item.clone(), &inner)?;
            if self.body(&of.body, &inner, out)? == Flow::Break {
                break;
            }
        }
        if is_empty {
            self.body(&of.otherwise, &Scope::new(Vec::new(), Some(scope)), out)?;
        }
        if is_copy && !of.asks_loop {
            self.limits.release(items.len());
        }
        Ok(())
    }

    /// True if the condition of a loop holds for `item`.
    fn is_kept(&self, of: &For, item: &Value, scope: &Rc<Scope>) -> Result<bool, Fault> {
        let Some(condition) = &of.condition else {
            return Ok(true);
        };
        let inner = Scope::new(Vec::new(), Some(scope));
        self.assign(&of.target, item.clone(), &inner)?;
        Ok(self.evaluate(condition, &inner)?.is_true())
    }

    /// Calls a value.
    pub(super) fn call(&self, function: &Value, args: Args) -> Result<Value, Fault> {
        self.limits.step(1)?;
        function.defined()?;
        match function {
            Value::Loop(of) => self.call_loop(of, args),
            Value::Function(function) => match &**function {
                Function::Global(name) => self.call_global(name, args),
                Function::Method(value, name) => self.call_method(value, name, args),
                Function::Macro(of, scope) => {
                    self.limits.deeper(|| self.call_macro(of, scope, args))
                }
                Function::Cycler(items, at) => Err(fault(format!(
                    "a cycler of {} is called at {}",
                    items.len(),
                    at.get()
                ))),
                Function::Joiner(separator, used) => Ok(if used.replace(true) {
                    separator.clone()
                } else {
                    Value::text("")
                }),
            },
            other => Err(fault(format!("'{}' object is not callable", other.kind()))),
        }
    }

    fn call_loop(&self, of: &Loop, args: Args) -> Result<Value, Fault> {
        let Some((again, scope)) = &of.again else {
            return Err(fault("the loop must be `recursive` to be called"));
        };
        let [over] = args.take("loop", ["iterable"])?;
        let over = over.unwrap_or(Value::None);
        let mut out = String::new();
        self.limits
            .deeper(|| self.iterations(again, &over, of.depth + 1, scope, &mut out))?;
        Ok(Value::text(out))
    }

    fn call_macro(&self, of: &Macro, around: &Rc<Scope>, args: Args) -> Result<Value, Fault> {
        let scope = Scope::new(Vec::new(), Some(around));
        let called = |text: String| fault(format!("macro '{}' {text}", of.name));
        let Args {
            mut positional,
            mut named,
        } = args;
        let taken = positional.len().min(of.parameters.len());
        let rest = positional.split_off(taken);
        for (name, value) in of.parameters.iter().zip(&positional) {
            scope.set(name, value.clone());
        }
        let first_default = of.parameters.len() - of.defaults.len();
        for (at, name) in of.parameters.iter().enumerate() {
            let given = named.iter().position(|(known, _)| known == name);
            let given = given.map(|at| named.remove(at).1);
            if at < taken {
                if given.is_some() {
                    return Err(called(format!("got multiple values for argument '{name}'")));
                }
                continue;
            }
            let value = match (given, at.checked_sub(first_default)) {
                (Some(value), _) => value,
                (None, Some(default)) => self.evaluate(&of.defaults[default], &scope)?,
                (None, None) => Value::undefined(format!("parameter '{name}' was not provided")),
            };
            scope.set(name, value);
        }
        if of.takes_caller {
            let caller = named.iter().position(|(name, _)| &**name == "caller");
            let caller = caller.map(|at| named.remove(at).1);
            let missing = || Value::undefined("No caller defined");
            scope.set(&Arc::from("caller"), caller.unwrap_or_else(missing));
        }
        if of.takes_kwargs {
            let named = named
                .drain(..)
                .map(|(name, value)| (Value::Str(name), value));
            scope.set(&Arc::from("kwargs"), Value::dict(named.collect())?);
        } else if let Some((name, _)) = named.first() {
            return Err(called(format!("takes no keyword argument '{name}'")));
        }
        if of.takes_varargs {
            scope.set(&Arc::from("varargs"), Value::tuple(rest)?);
        } else if !rest.is_empty() {
            let count = of.parameters.len();
            return Err(called(format!("takes not more than {count} argument(s)")));
        }
        Ok(self.captured(&of.body, &scope)?.0)
    }

    /// A new namespace.
    pub(super) fn namespace(&self, attributes: Vec<(Arc<str>, Value)>) -> Result<Value, Fault> {
        self.limits.elements(attributes.len() + 2)?;
        let attributes = RefCell::new(attributes);
        let namespace = Rc::new(Namespace { attributes });
        let mut circles = self.circles.borrow_mut();
        circles.push(Circle::Namespace(namespace.clone()));
        Ok(Value::Namespace(namespace))
    }

    /// True if `values` are others than at the last call.
    pub(super) fn changed(&self, of: &Rc<Loop>, values: Vec<Value>) -> Result<Value, Fault> {
        self.limits.elements(values.len() + 1)?;
        let mut circles = self.circles.borrow_mut();
        circles.push(Circle::Loop(of.clone()));
        let mut last = of.changed.borrow_mut();
        let is_same = match &*last {
            Some(last) => self.all_equal(last, &values)?,
            None => false,
        };
        let old = last.replace(values);
        drop(last);
        drop(old);
        Ok(Value::Bool(!is_same))
    }

    pub(super) fn raise(&self, args: Args) -> Result<Value, Fault> {
        let [message] = args.take("raise_exception", ["message"])?;
        let message = message.unwrap_or(Value::None);
        Err(raised(&*text_of(&self.limits, &message)?))
    }
}
