//! Reasons for which a template cannot be rendered.

/// The reason, and its place in the template.
#[derive(Clone, Debug)]
pub(in crate::chat) struct Fault {
    /// What is wrong.
    pub(in crate::chat) reason: String,
    /// Line of the template, from 1, once it is known.
    pub(in crate::chat) line: Option<usize>,
    /// True if the template refuses the conversation on purpose.
    pub(in crate::chat) raised: bool,
}

impl Fault {
    /// The same fault in `line`, unless a line is known.
    pub(super) fn at(mut self, line: usize) -> Fault {
        self.line = self.line.or(Some(line));
        self
    }
}

pub(super) fn fault(reason: impl Into<String>) -> Fault {
    Fault {
        reason: reason.into(),
        line: None,
        raised: false,
    }
}

/// What the template itself says against the conversation.
pub(super) fn raised(reason: impl Into<String>) -> Fault {
    Fault {
        raised: true,
        ..fault(reason)
    }
}

/// The fault of a filter or a test that does not exist.
pub(super) fn unknown(what: &str, name: &str) -> Fault {
    fault(format!("there is no {what} `{name}`"))
}
