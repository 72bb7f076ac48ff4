//! Just enough of Rust's grammar to look at a file's code without its comments and literals.

/// The text with comments, strings and character literals blanked out; lines stay where they were.
pub fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = out.chars().next_back().is_some_and(is_word);
        let skipped = if after_word { plain_literal(rest) } else { raw_literal(rest).or_else(|| plain_literal(rest)) };
        match skipped {
            Some(length) => {
                let (literal, tail) = rest.split_at(length);
                out.extend(literal.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
                rest = tail;
            }
            None => {
                out.push(first);
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
    }
    out
}

/// Whether `word` stands in `code` as a whole word. `word` may hold `::`.
pub fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        let after = code.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_word) && (word.ends_with(':') || !after.is_some_and(is_word))
    })
}

/// The lines before the file's own test module.
pub fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let opens_tests = |at: usize| {
        let mut following = lines.iter().skip(at + 1).skip_while(|line| line.starts_with("#["));
        following.next().is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    (0..lines.len())
        .find(|&at| lines.get(at).is_some_and(|line| line.starts_with("#[cfg(test)]")) && opens_tests(at))
        .unwrap_or(lines.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a comment, string or character literal at the start of `text`.
fn plain_literal(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    if let Some(body) = text.strip_prefix('"') {
        return Some(1 + until_quote(body, '"'));
    }
    let body = text.strip_prefix('\'')?;
    // 'a' and '\n' are literals, 'a alone is a lifetime.
    let mut chars = body.chars();
    let literal = match chars.next()? {
        '\\' => true,
        _ => chars.next() == Some('\''),
    };
    literal.then(|| 1 + until_quote(body, '\''))
}

/// The length of `r"..."` or `r#"..."#` (also with `b` or `c` before) at the start of `text`.
fn raw_literal(text: &str) -> Option<usize> {
    let body = text.strip_prefix(['b', 'c']).unwrap_or(text).strip_prefix('r')?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inner = body.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inner.find(&end).map_or(inner.len(), |at| at + end.len());
    Some(text.len() - inner.len() + length)
}

fn until_quote(body: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        if !escaped && c == quote {
            return at + c.len_utf8();
        }
        escaped = !escaped && c == '\\';
    }
    body.len()
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let step = match rest {
            "" => break,
            _ if rest.starts_with("/*") => {
                depth += 1;
                2
            }
            _ if rest.starts_with("*/") => {
                depth -= 1;
                2
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "a /* x /* y */ z */ b // c\n\"d \\\" e\" r#\"f \" g\"# 'h' '\\'' 'life br\"i\" j";
        let code = code_only(text);
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words, ["a", "b", "'life", "j"], "{code}");
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn code_after_a_literal_is_still_seen() {
        assert!(names(&code_only("let a = '\"'; let b = \"'\"; danger();"), "danger"));
        assert!(names(&code_only("fn f<'a>(x: &'a str) { danger() }"), "danger"));
        assert!(names(&code_only("let str_r = 1; danger(b'x', var\"s\")"), "danger"));
        assert!(!names(&code_only("/// danger\nlet a = \"danger\";"), "danger"));
    }

    #[test]
    fn a_word_is_a_whole_word() {
        assert!(names("use tokio::net;", "tokio") && !names("use my_tokio::net;", "tokio") && !names("tokios", "tokio"));
        assert!(names("proxy::serve()", "proxy::") && !names("my_proxy::serve()", "proxy::"));
    }

    #[test]
    fn only_the_own_test_module_is_not_counted() {
        assert_eq!(lines_without_tests("a\nb\n#[cfg(test)]\nmod tests {\nc\n}\n"), 2);
        assert_eq!(lines_without_tests("a\n#[cfg(test)]\n#[expect(x)]\nmod tests {\nc\n}\n"), 1);
        assert_eq!(lines_without_tests("#[cfg(test)]\nmod helper;\na\nb\n"), 4);
        assert_eq!(lines_without_tests("#[cfg(test)]\nfn f() {\n}\n"), 3);
    }
}
