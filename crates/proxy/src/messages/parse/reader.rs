//! What was found so far of a request, and how its objects are walked.

use crate::messages::canon::{self, Canon, Key};
use crate::messages::shape::{Detail, Message, Role};
use policy::CacheWrites;
use serde::Deserialize;
use serde::de::{Error, IgnoredAny, MapAccess};

/// The provider takes no more messages than this.
const KEPT_MAX: usize = 100_000;

/// What was found so far.
#[derive(Debug)]
pub(super) struct Reader {
    detail: Detail,
    pub(super) canon: Canon,
    pub(super) forbidden: Option<String>,
    pub(super) cache_writes: CacheWrites,
    /// Of the whole request.
    pub(super) extra_tokens_max: u64,
    /// Bytes of the body that are images, which have tokens by their size only.
    pub(super) image_bytes: u64,
    /// Since the last message ended.
    pub(super) thinking_weight: u64,
    extra_tokens: u64,
    block_count: u64,
    kept: usize,
}

impl Reader {
    pub(super) fn new(detail: Detail) -> Self {
        Self {
            detail,
            canon: Canon::default(),
            forbidden: None,
            cache_writes: CacheWrites::None,
            extra_tokens_max: 0,
            image_bytes: 0,
            block_count: 0,
            kept: 0,
            thinking_weight: 0,
            extra_tokens: 0,
        }
    }

    /// Whether anybody wants to know which messages there are.
    pub(super) fn digests(&self) -> bool {
        self.detail != Detail::Facts
    }

    /// One more message or tool that is kept. What is kept of a body takes more room than the smallest ones in it, so there
    /// is an end.
    pub(super) fn keep<E: Error>(&mut self) -> Result<(), E> {
        self.kept += 1;
        if self.kept > KEPT_MAX {
            return Err(E::custom(format_args!("it has more than {KEPT_MAX} messages and tools")));
        }
        Ok(())
    }

    /// A block has ended.
    pub(super) const fn block(&mut self) {
        self.block_count = self.block_count.saturating_add(1);
    }

    /// So many bytes are an image. Only the provider's size counts, which is among the extra tokens.
    pub(super) const fn image(&mut self, bytes: u64) {
        self.image_bytes = self.image_bytes.saturating_add(bytes);
    }

    pub(super) fn forbid(&mut self, feature: &str) {
        self.forbidden.get_or_insert_with(|| feature.to_owned());
    }

    /// More tokens than bytes.
    pub(super) const fn extra(&mut self, tokens: u64) {
        self.extra_tokens = self.extra_tokens.saturating_add(tokens);
        self.extra_tokens_max = self.extra_tokens_max.saturating_add(tokens);
    }

    /// Ends a message: everything since the one before belongs to it.
    pub(super) fn message(&mut self, role: Role) -> Message {
        self.canon.tag(match role {
            Role::User => b'u',
            Role::Assistant => b'a',
            Role::System => b'y',
            Role::Other => b'o',
        });
        let (digest, weight) = self.canon.take();
        Message {
            digest,
            spelling: self.canon.take_spelling(),
            weight,
            extra_tokens: std::mem::take(&mut self.extra_tokens),
            thinking_weight: std::mem::take(&mut self.thinking_weight),
            block_count: std::mem::take(&mut self.block_count),
        }
    }
}

/// A key that stands twice could be read differently elsewhere.
pub(super) fn once<T, E: Error>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
    if slot.replace(value).is_some() { Err(E::duplicate_field(name)) } else { Ok(()) }
}

/// The next key of an object: one that `of` knows, or another, which is written down where digests are wanted.
pub(super) fn next_field<'de, A: MapAccess<'de>, F>(
    fields: &mut A,
    reader: &mut Reader,
    of: fn(&str) -> Option<F>,
) -> Result<Option<Option<F>>, A::Error> {
    fields.next_key_seed(Key(|key: &str| {
        let field = of(key);
        if field.is_none() && reader.digests() {
            reader.canon.text(key);
        }
        field
    }))
}

/// The value of a key that nobody looks at.
pub(super) fn pass<'de, A: MapAccess<'de>>(fields: &mut A, reader: &mut Reader) -> Result<(), A::Error> {
    if reader.digests() {
        fields.next_value_seed(canon::Into(&mut reader.canon))
    } else {
        fields.next_value::<IgnoredAny>().map(drop)
    }
}

#[derive(Deserialize)]
struct CacheControl {
    ttl: Option<String>,
}

/// `cache_control`, of which only the cost counts.
pub(super) fn note_cache<'de, A: MapAccess<'de>>(fields: &mut A, reader: &mut Reader) -> Result<(), A::Error> {
    let control = fields.next_value::<Option<CacheControl>>()?;
    let writes = control.map_or(CacheWrites::None, |control| match control.ttl.as_deref() {
        None | Some("5m") => CacheWrites::FiveMinutes,
        Some(_) => CacheWrites::OneHour,
    });
    reader.cache_writes = reader.cache_writes.max(writes);
    Ok(())
}
