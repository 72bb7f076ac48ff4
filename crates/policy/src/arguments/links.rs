//! Addresses of the web: read strictly, found generously.

use crate::HostName;
use std::fmt;

/// An address of the web that can be read in one way only. `http` and `https` are not told apart; a port is part of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    host: HostName,
    port: Option<u16>,
    rest: String,
}

/// Endings of files that are no domains of the first level.
const FILE_ENDINGS: &[&str] = &[
    "docx", "xlsx", "pptx", "odt", "pdf", "txt", "csv", "tsv", "jpg", "jpeg", "png", "gif", "svg", "json", "xml", "html", "htm",
    "yaml",
];

impl Address {
    /// Reads an address, with or without its scheme. None where there is a name or password before the host, a character that
    /// programs read differently, or another scheme.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let odd = |c: char| !c.is_ascii_graphic() || matches!(c, '\\' | '<' | '>' | '"' | '`' | '{' | '}' | '|' | '^');
        if text.contains(odd) {
            return None;
        }
        let bare = match text.split_once("://") {
            Some((scheme, bare)) if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http") => bare,
            // Behind a question mark it is no scheme but somebody's query.
            Some((before, _)) if before.contains(['/', '?', '#']) => text,
            Some(_) => return None,
            None => text,
        };
        let end = bare.find(['/', '?', '#']).unwrap_or(bare.len());
        let (authority, rest) = bare.split_at_checked(end)?;
        let (name, port) = match authority.split_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, Some(port.parse().ok()?)),
            Some(_) => return None,
            None => (authority, None),
        };
        let host = HostName::parse(name).ok().filter(|host| host.as_str().contains('.'))?;
        let port = port.filter(|port| !matches!(port, 80 | 443));
        Some(Self { host, port, rest: if rest == "/" { String::new() } else { rest.to_owned() } })
    }

    pub(super) fn host_on_its_usual_port(self) -> Option<String> {
        self.port.is_none().then(|| self.host.to_string())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.rest)
    }
}

/// The host of an address, with its port if that is an unusual one.
pub(super) fn host_of(text: &str) -> Option<String> {
    Address::parse(text).map(|address| Address { rest: String::new(), ..address }.to_string())
}

/// Everything in a text that a program might make a link of. More than that, rather than less: what is found here and can't be
/// read as an address comes from nowhere.
pub(super) fn links_in(text: &str) -> Vec<String> {
    let plain: String = text.chars().filter(|c| !is_invisible(*c)).map(|c| if is_dot(c) { '.' } else { c }).collect();
    let gap = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '"' | '\'' | '`' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | ',' | ';' | '|' | '*')
    };
    plain.split(gap).filter_map(link_in).map(str::to_owned).collect()
}

fn link_in(word: &str) -> Option<&str> {
    let word = word.trim_matches(|c: char| matches!(c, '.' | '!' | '?' | ':' | '…' | '“' | '”' | '‘' | '’' | '«' | '»' | '„'));
    if word.contains("://") {
        return Some(word);
    }
    if super::words::email(word).is_some() {
        return None;
    }
    let mut at = 0;
    for piece in word.split_inclusive(['/', '?', '#', ':', '=', '&', '\\', '~', '@']) {
        let name = piece.trim_end_matches(['/', '?', '#', ':', '=', '&', '\\', '~', '@']);
        if is_like_a_host(name) {
            return word.get(at..);
        }
        at += piece.len();
    }
    None
}

/// A name with a dot whose last part could be a domain of the first level, or four numbers.
fn is_like_a_host(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').filter(|part| !part.is_empty()).collect();
    let (Some(last), true) = (parts.last(), parts.len() > 1) else { return false };
    let letters = last.chars().count() >= 2 && last.chars().all(char::is_alphabetic);
    let coded = last.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--"));
    let numbers = parts.len() == 4 && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
    let file = FILE_ENDINGS.iter().any(|ending| last.eq_ignore_ascii_case(ending));
    (letters && !file) || coded || numbers
}

/// What browsers take for the dot in a host's name.
const fn is_dot(c: char) -> bool {
    matches!(c, '\u{3002}' | '\u{ff0e}' | '\u{ff61}' | '\u{2024}')
}

/// What nobody sees and some programs leave out.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
