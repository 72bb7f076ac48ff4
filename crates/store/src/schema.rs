//! What a room or an app brings to the database: its migrations and its statements, both engines at once.

/// One SQL text in the subset both engines share, with `?1`, `?2` ... as parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement(pub &'static str);

impl Statement {
    /// The same text with PostgreSQL's `$1`, `$2` ... Question marks never stand inside our string literals.
    pub(crate) fn numbered(self) -> String {
        self.0.replace('?', "$")
    }
}

/// One numbered step. Its text must never change once released: its digest is recorded where it was applied.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// 1, 2, 3 ... the same number on both engines.
    pub number: u32,
    /// A short name, as in the file's.
    pub name: &'static str,
    /// The engine's own SQL, several statements allowed.
    pub sql: &'static str,
}

/// A set of tables with everything that is ever said to them.
#[derive(Debug)]
pub struct Schema {
    /// `core`, or an app's name.
    pub name: &'static str,
    /// Migrations for SQLite.
    pub sqlite: &'static [Migration],
    /// Migrations for PostgreSQL, same numbers.
    pub postgres: &'static [Migration],
    /// Every statement, so that all are prepared at start: a wrong one is found before a port opens.
    pub statements: &'static [&'static [Statement]],
}

/// Everything the schemas ever say.
pub(crate) fn statements_of(schemas: &[&'static Schema]) -> Vec<Statement> {
    schemas.iter().flat_map(|schema| schema.statements).flat_map(|list| list.iter()).copied().collect()
}

/// Declares statements as constants and lists them all, so that none can be forgotten by the check at start.
///
/// `statements! { ALL: INSERT_TILE = "INSERT ..."; READ_TILE = "SELECT ..."; }`
#[macro_export]
macro_rules! statements {
    ($all:ident: $($(#[$meta:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$meta])* const $name: $crate::Statement = $crate::Statement($sql);)*
        pub(crate) const $all: &[$crate::Statement] = &[$($name),*];
    };
}
