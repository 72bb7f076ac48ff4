//! Keeps the operator's secret out of what a host answers, wherever its bytes are cut into pieces.

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use memchr::memmem::Finder;
use std::sync::Arc;

/// What stands in a secret's place: as long as the secret, so that lengths which were said before stay true.
const INSTEAD: u8 = b'*';

/// One secret, searched for in one stream of bytes.
pub(super) struct Redactor {
    finder: Arc<Finder<'static>>,
    /// The end of what came, which may be the beginning of the secret. Shorter than the secret.
    held: BytesMut,
}

impl Redactor {
    /// Searches for a secret of at least one byte.
    pub(super) fn new(secret: &[u8]) -> Self {
        Self { finder: Arc::new(Finder::new(secret).into_owned()), held: BytesMut::new() }
    }

    /// Another stream with the same secret.
    pub(super) fn again(&self) -> Self {
        Self { finder: Arc::clone(&self.finder), held: BytesMut::new() }
    }

    /// The next piece, without what may still become the secret.
    pub(super) fn pass(&mut self, piece: Bytes) -> Bytes {
        if self.held.is_empty() && self.finder.find(&piece).is_none() && self.open_end(&piece) == 0 {
            return piece;
        }
        self.held.extend_from_slice(&piece);
        let mut all = std::mem::take(&mut self.held);
        self.blank(&mut all);
        let open = self.open_end(&all);
        self.held = all.split_off(all.len() - open);
        all.freeze()
    }

    /// What was held back, when nothing follows any more.
    pub(super) fn end(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }

    /// Bytes that are held back right now.
    pub(super) fn held(&self) -> u64 {
        u64::try_from(self.held.len()).unwrap_or(u64::MAX)
    }

    /// A whole header value.
    pub(super) fn value(&self, value: &HeaderValue) -> HeaderValue {
        if self.finder.find(value.as_bytes()).is_none() {
            return value.clone();
        }
        let mut bytes = BytesMut::from(value.as_bytes());
        self.blank(&mut bytes);
        HeaderValue::from_maybe_shared(bytes.freeze()).unwrap_or_else(|_| HeaderValue::from_static("*"))
    }

    fn blank(&self, bytes: &mut [u8]) {
        let length = self.finder.needle().len();
        let mut from = 0;
        while let Some(found) = bytes.get(from..).and_then(|rest| self.finder.find(rest)) {
            let at = from + found;
            if let Some(secret) = bytes.get_mut(at..at + length) {
                secret.fill(INSTEAD);
            }
            from = at + length;
        }
    }

    /// How much of the end is a beginning of the secret.
    fn open_end(&self, bytes: &[u8]) -> usize {
        let secret = self.finder.needle();
        let most = bytes.len().min(secret.len().saturating_sub(1));
        let is_open = |length: &usize| secret.get(..*length).is_some_and(|start| bytes.ends_with(start));
        (1..=most).rev().find(is_open).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passed(secret: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
        let mut redactor = Redactor::new(secret);
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&redactor.pass(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&redactor.end());
        out
    }

    #[test]
    fn a_secret_is_blanked_wherever_it_is_cut() {
        let secret = b"sk-live-abcabcabd";
        let text = [b"x".as_slice(), secret, b"abc", secret, secret, b"sk-live-abcabcab"].concat();
        let expected = [b"x".as_slice(), &[b'*'; 17], b"abc", &[b'*'; 34], b"sk-live-abcabcab"].concat();
        for cut in 1..text.len() {
            let pieces: Vec<&[u8]> = text.chunks(cut).collect();
            assert_eq!(passed(secret, &pieces), expected, "in pieces of {cut}");
        }
    }

    #[test]
    fn what_is_not_the_secret_passes_at_once() {
        let mut redactor = Redactor::new(b"secret-0123456789");
        assert_eq!(redactor.pass(Bytes::from_static(b"data: 1\n\n")), "data: 1\n\n");
        assert_eq!(redactor.pass(Bytes::from_static(b"data: s")), "data: ");
        assert_eq!((redactor.held(), redactor.pass(Bytes::from_static(b"o\n"))), (1, Bytes::from_static(b"so\n")));
        let value = redactor.value(&HeaderValue::from_static("Bearer secret-0123456789, x"));
        assert_eq!(value, "Bearer *****************, x");
    }

    proptest! {
        /// The length stays, the secret goes, and nothing changes where there was no secret.
        #[test]
        fn any_stream_keeps_its_length_and_loses_the_secret(text in "[ab]{0,200}", cuts in prop::collection::vec(1..9_usize, 1..60)) {
            let secret = b"abaab";
            let (mut rest, mut pieces) = (text.as_bytes(), Vec::new());
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let out = passed(secret, &pieces);
            prop_assert_eq!(out.len(), text.len());
            prop_assert!(memchr::memmem::find(&out, secret).is_none());
            if memchr::memmem::find(text.as_bytes(), secret).is_none() {
                prop_assert_eq!(out.as_slice(), text.as_bytes());
            }
        }
    }
}
