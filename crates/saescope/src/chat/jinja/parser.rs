//! Statements of a template.

use std::sync::Arc;

use super::fault::{Fault, fault};
use super::lexer::{Token, tokens};
use super::syntax::{Applied, Block, Body, Expr, For, Kind, Macro, Statement, Target};

/// Deepest nesting of statements and expressions.
const NESTING: usize = 100;

/// Reads a template.
pub(super) fn parse(source: &str) -> Result<Body, Fault> {
    let mut parser = Parser {
        tokens: tokens(source)?,
        at: 0,
        nesting: 0,
        loops: 0,
        is_soft: false,
        unknown: Vec::new(),
        names: Vec::new(),
        blocks: Vec::new(),
    };
    let parsed = parser.body(&[]);
    let (body, _) = parsed.map_err(|fault| fault.at(parser.line()))?;
    match parser.unknown.into_iter().next() {
        Some(unknown) => Err(unknown),
        None => Ok(body),
    }
}

pub(super) struct Parser {
    pub(super) tokens: Vec<(Token, usize)>,
    pub(super) at: usize,
    nesting: usize,
    /// Loops around this place that `break` can leave.
    loops: usize,
    /// True where Jinja reports an unknown filter only when it is reached.
    pub(super) is_soft: bool,
    /// Filters and tests that do not exist.
    pub(super) unknown: Vec<Fault>,
    /// Names with a meaning for the loop or macro around them, as they are met.
    pub(super) names: Vec<&'static str>,
    blocks: Vec<Arc<str>>,
}

impl Parser {
    pub(super) fn peek(&self) -> &Token {
        self.ahead(0)
    }

    pub(super) fn ahead(&self, count: usize) -> &Token {
        self.tokens
            .get(self.at + count)
            .map_or(&Token::End, |(token, _)| token)
    }

    pub(super) fn line(&self) -> usize {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens
            .get(self.at.min(last))
            .map_or(1, |(_, line)| *line)
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    pub(super) fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Token::Op(found) if *found == op)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(found) if **found == *name)
    }

    pub(super) fn skip_op(&mut self, op: &str) -> bool {
        let is = self.is_op(op);
        self.at += usize::from(is);
        is
    }

    pub(super) fn skip_name(&mut self, name: &str) -> bool {
        let is = self.is_name(name);
        self.at += usize::from(is);
        is
    }

    pub(super) fn expect_op(&mut self, op: &str) -> Result<(), Fault> {
        if self.skip_op(op) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{op}`")))
    }

    fn expect_name(&mut self, name: &str) -> Result<(), Fault> {
        if self.skip_name(name) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{name}`")))
    }

    pub(super) fn name(&mut self) -> Result<Arc<str>, Fault> {
        match self.next() {
            Token::Name(name) => Ok(name),
            _ => {
                self.at -= 1;
                Err(self.unexpected("a name"))
            }
        }
    }

    pub(super) fn unexpected(&self, expected: &str) -> Fault {
        let found = match self.peek() {
            Token::Text(_) => "text".to_owned(),
            Token::PrintBegin => "`{{`".to_owned(),
            Token::PrintEnd => "`}}`".to_owned(),
            Token::TagBegin => "`{%`".to_owned(),
            Token::TagEnd => "`%}`".to_owned(),
            Token::Name(name) => format!("`{name}`"),
            Token::Str(text) => format!("the text {text:?}"),
            Token::Int(number) => number.to_string(),
            Token::Float(number) => number.to_string(),
            Token::Op(op) => format!("`{op}`"),
            Token::End => "the end of the template".to_owned(),
        };
        fault(format!("syntax error: {expected} is expected, not {found}"))
    }

    /// Parses one level deeper.
    pub(super) fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Parser) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.nesting == NESTING {
            return Err(fault(format!("it is nested deeper than {NESTING}")));
        }
        self.nesting += 1;
        let result = inner(self);
        self.nesting -= 1;
        result
    }

    fn end_tag(&mut self) -> Result<(), Fault> {
        if *self.peek() == Token::TagEnd {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected("`%}`"))
    }

    /// Statements up to one of the tags in `ends`, whose name is taken and returned.
    fn body(&mut self, ends: &[&'static str]) -> Result<(Body, &'static str), Fault> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            let kind = match self.next() {
                Token::End if ends.is_empty() => return Ok((body, "")),
                Token::End => {
                    let ends = ends.join("` or `");
                    return Err(fault(format!("syntax error: `{ends}` is missing")));
                }
                Token::Text(text) => Kind::Text(text),
                Token::PrintBegin => {
                    let value = self.tuple(true)?;
                    if self.next() != Token::PrintEnd {
                        self.at -= 1;
                        return Err(self.unexpected("`}}`"));
                    }
                    Kind::Print(vec![value])
                }
                _ => {
                    let name = self.name()?;
                    if let Some(end) = ends.iter().find(|end| ***end == *name) {
                        return Ok((body, end));
                    }
                    let kind = self.nested(|parser| parser.statement(&name))?;
                    self.end_tag()?;
                    kind
                }
            };
            body.push(Statement { line, kind });
        }
    }

    /// The body of a tag up to `end`, which must be alone in its tag.
    fn block(&mut self, end: &'static str) -> Result<Body, Fault> {
        self.end_tag()?;
        Ok(self.body(&[end])?.0)
    }

    /// A body in which unknown filters are reported at once, as in every block but `if`.
    fn hard<T>(&mut self, inner: impl FnOnce(&mut Parser) -> Result<T, Fault>) -> Result<T, Fault> {
        let was_soft = std::mem::replace(&mut self.is_soft, false);
        let result = inner(self);
        self.is_soft = was_soft;
        result
    }

    /// A body that becomes a function, which no `break` can leave.
    fn function<T>(
        &mut self,
        inner: impl FnOnce(&mut Parser) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let loops = std::mem::take(&mut self.loops);
        let result = self.hard(inner);
        self.loops = loops;
        result
    }

    fn statement(&mut self, name: &str) -> Result<Kind, Fault> {
        match name {
            "if" => self.if_statement(),
            "for" => self.for_statement(),
            "set" => self.set_statement(),
            "print" => self.print_statement(),
            "macro" => {
                let name = self.name()?;
                Ok(Kind::Macro(self.macro_body(name, "endmacro")?))
            }
            "call" => self.call_statement(),
            "with" => self.with_statement(),
            "filter" => {
                let filters = self.block_filters(true)?;
                let body = self.hard(|parser| parser.block("endfilter"))?;
                Ok(Kind::FilterBlock(filters, body))
            }
            "block" => self.block_statement(),
            "generation" => {
                let body = self.function(|parser| parser.block("endgeneration"))?;
                Ok(Kind::Scope(body))
            }
            "autoescape" => {
                let escapes = self.expression()?;
                let is_off = matches!(escapes, Expr::Const(super::syntax::Const::Bool(false)));
                let body = self.hard(|parser| parser.block("endautoescape"))?;
                Ok(if is_off {
                    Kind::Scope(body)
                } else {
                    Kind::Refused("`autoescape` is not supported")
                })
            }
            "break" | "continue" if self.loops == 0 => Err(fault(format!(
                "syntax error: `{name}` stands outside of a loop"
            ))),
            "break" => Ok(Kind::Break),
            "continue" => Ok(Kind::Continue),
            "extends" | "include" | "import" | "from" => {
                while !matches!(self.peek(), Token::TagEnd | Token::End) {
                    self.at += 1;
                }
                Ok(Kind::Refused(
                    "a chat template has no other templates beside it",
                ))
            }
            other => Err(fault(format!("syntax error: unknown tag `{other}`"))),
        }
    }

    fn if_statement(&mut self) -> Result<Kind, Fault> {
        let was_soft = std::mem::replace(&mut self.is_soft, true);
        let mut branches = Vec::new();
        let otherwise = loop {
            let condition = self.tuple(false)?;
            self.end_tag()?;
            let (body, end) = self.body(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            match end {
                "elif" => {}
                "else" => break self.block("endif")?,
                _ => break Vec::new(),
            }
        };
        self.is_soft = was_soft;
        Ok(Kind::If(branches, otherwise))
    }

    fn for_statement(&mut self) -> Result<Kind, Fault> {
        let target = self.targets()?;
        self.expect_name("in")?;
        let over = self.tuple(false)?;
        let seen = self.names.len();
        let condition = if self.skip_name("if") {
            Some(self.expression()?)
        } else {
            None
        };
        let recursive = self.skip_name("recursive");
        self.end_tag()?;
        self.loops += 1;
        let body = self.hard(|parser| parser.body(&["else", "endfor"]));
        self.loops -= 1;
        let (body, end) = body?;
        let asks_loop = self.names[seen..].contains(&"loop");
        let otherwise = match end {
            "else" => self.hard(|parser| parser.block("endfor"))?,
            _ => Vec::new(),
        };
        Ok(Kind::For(Arc::new(For {
            target,
            over,
            condition,
            body,
            otherwise,
            recursive,
            asks_loop,
        })))
    }

    fn set_statement(&mut self) -> Result<Kind, Fault> {
        let target = self.targets()?;
        if self.skip_op("=") {
            return Ok(Kind::Set(target, self.tuple(true)?));
        }
        let filters = self.block_filters(false)?;
        let body = self.hard(|parser| parser.block("endset"))?;
        Ok(Kind::SetBlock(target, filters, body))
    }

    fn print_statement(&mut self) -> Result<Kind, Fault> {
        let mut values = Vec::new();
        while *self.peek() != Token::TagEnd {
            if !values.is_empty() {
                self.expect_op(",")?;
            }
            values.push(self.expression()?);
        }
        Ok(Kind::Print(values))
    }

    fn with_statement(&mut self) -> Result<Kind, Fault> {
        let mut values = Vec::new();
        while *self.peek() != Token::TagEnd {
            if !values.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.target()?;
            self.expect_op("=")?;
            values.push((target, self.expression()?));
        }
        let body = self.hard(|parser| parser.block("endwith"))?;
        Ok(Kind::With(values, body))
    }

    fn block_statement(&mut self) -> Result<Kind, Fault> {
        let name = self.name()?;
        if self.blocks.contains(&name) {
            return Err(fault(format!(
                "syntax error: two blocks are named `{name}`"
            )));
        }
        self.blocks.push(name.clone());
        let scoped = self.skip_name("scoped");
        if self.is_name("required") {
            return Err(fault("required blocks are not supported"));
        }
        self.end_tag()?;
        let (body, _) = self.function(|parser| parser.body(&["endblock"]))?;
        if self.is_name(&name) {
            self.at += 1;
        }
        Ok(Kind::Block(Block { body, scoped }))
    }

    fn call_statement(&mut self) -> Result<Kind, Fault> {
        let (parameters, defaults) = if self.is_op("(") {
            self.signature()?
        } else {
            (Vec::new(), Vec::new())
        };
        let call = self.expression()?;
        if !matches!(call, Expr::Call(..)) {
            return Err(fault("syntax error: `call` is expected to call a macro"));
        }
        let caller = self.macro_rest("caller".into(), parameters, defaults, "endcall")?;
        Ok(Kind::CallBlock(call, caller))
    }

    fn macro_body(&mut self, name: Arc<str>, end: &'static str) -> Result<Arc<Macro>, Fault> {
        let (parameters, defaults) = self.signature()?;
        self.macro_rest(name, parameters, defaults, end)
    }

    fn macro_rest(
        &mut self,
        name: Arc<str>,
        parameters: Vec<Arc<str>>,
        defaults: Vec<Expr>,
        end: &'static str,
    ) -> Result<Arc<Macro>, Fault> {
        let seen = self.names.len();
        let body = self.function(|parser| parser.block(end))?;
        let takes = |what: &str| {
            self.names[seen..].contains(&what) && !parameters.iter().any(|name| **name == *what)
        };
        let (takes_caller, takes_varargs) = (takes("caller"), takes("varargs"));
        let takes_kwargs = takes("kwargs");
        Ok(Arc::new(Macro {
            name,
            defaults,
            body,
            takes_caller,
            takes_varargs,
            takes_kwargs,
            parameters,
        }))
    }

    /// Parameters in parentheses, and the defaults of the last ones.
    fn signature(&mut self) -> Result<(Vec<Arc<str>>, Vec<Expr>), Fault> {
        let (mut parameters, mut defaults) = (Vec::new(), Vec::new());
        self.expect_op("(")?;
        while !self.skip_op(")") {
            if !parameters.is_empty() {
                self.expect_op(",")?;
                if self.skip_op(")") {
                    break;
                }
            }
            parameters.push(self.name()?);
            if self.skip_op("=") {
                defaults.push(self.expression()?);
            } else if !defaults.is_empty() {
                let text = "syntax error: a parameter without a default follows one with it";
                return Err(fault(text));
            }
        }
        Ok((parameters, defaults))
    }

    /// The filters of a block: the first one stands at once or after `|`.
    fn block_filters(&mut self, starts: bool) -> Result<Vec<Applied>, Fault> {
        let mut filters = Vec::new();
        if starts {
            filters.push(self.applied("filter")?);
        }
        while self.skip_op("|") {
            filters.push(self.applied("filter")?);
        }
        Ok(filters)
    }

    /// One target or several with commas between them.
    fn targets(&mut self) -> Result<Target, Fault> {
        let first = self.target()?;
        if !self.is_op(",") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_op(",") {
            if self.is_op("=") || self.is_op(")") || self.is_name("in") {
                break;
            }
            all.push(self.target()?);
        }
        Ok(Target::Tuple(all))
    }

    fn target(&mut self) -> Result<Target, Fault> {
        if self.skip_op("(") {
            let inner = self.nested(Parser::targets)?;
            self.expect_op(")")?;
            return Ok(inner);
        }
        let name = self.name()?;
        if matches!(
            &*name,
            "true" | "false" | "none" | "True" | "False" | "None"
        ) {
            return Err(fault(format!(
                "syntax error: `{name}` cannot be assigned to"
            )));
        }
        if self.skip_op(".") {
            return Ok(Target::Attr(name, self.name()?));
        }
        Ok(Target::Name(name))
    }
}
