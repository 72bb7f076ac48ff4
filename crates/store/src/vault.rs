//! What people write is sealed at rest: AES-256-GCM under a data key of each user's own, which stands in the database wrapped by a
//! master key that does not (`masters.rs`).
//!
//! Invariant: a sealed value opens in its own place only: format, table, column, user and row are authenticated with it. A value that is
//! not sealed does not open. The data key is read in the transaction that uses it and kept nowhere else, so with its row everything of
//! that user is unreadable at once, at every gateway. What this does not see: an older value of the same place put back.

use crate::masters::{KEY_BYTES, Masters, failed, random};
use crate::{Row, Statement, Store, StoreError, Tx, Value, statements};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use data_encoding::BASE64URL_NOPAD;
use policy::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The form of a sealed value: this character, then nonce, cipher text and tag as base64url. A value of n bytes has
/// `(length - 1) * 3 / 4 - 28` of them, in integers; the triggers of the map count so.
const FORM: char = '1';
/// Data keys that one step of a rotation wraps anew.
const REWRAPPED_AT_ONCE: i64 = 500;
/// Rows that are in memory at once while an older database is sealed: a row may have some megabytes.
const SEALED_AT_ONCE: i64 = 100;

statements! { ALL:
    READ_KEY = "SELECT master, wrapped FROM user_keys WHERE user_id = ?1";
    INSERT_KEY = "INSERT INTO user_keys (user_id, master, wrapped, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (user_id) DO NOTHING";
    READ_ERASED = "SELECT erased_at FROM erasures WHERE user_id = ?1";
    LIST_MASTERS = "SELECT DISTINCT master FROM user_keys";
    /// 1 the master key that wraps, 2 how many.
    LIST_OLD = "SELECT user_id, master, wrapped FROM user_keys WHERE master <> ?1 ORDER BY user_id LIMIT ?2";
    REWRAP = "UPDATE user_keys SET master = ?2, wrapped = ?3 WHERE user_id = ?1";
    READ_PASSED = "SELECT id FROM sealed_core WHERE id = 1";
    INSERT_PASSED = "INSERT INTO sealed_core (id) VALUES (1)";
    /// 1 the id of the row before, 2 how many; so are the other lists.
    LIST_TITLES = "SELECT user_id, id, title FROM conversations WHERE id > ?1 ORDER BY id LIMIT ?2";
    SET_TITLE = "UPDATE conversations SET title = ?2 WHERE id = ?1";
    LIST_CONTENTS = "SELECT c.user_id, m.conversation_id, m.seq, m.content FROM messages m JOIN conversations c ON c.id = m.conversation_id
                     WHERE (m.conversation_id, m.seq) > (?1, ?2) ORDER BY m.conversation_id, m.seq LIMIT ?3";
    SET_CONTENT = "UPDATE messages SET content = ?3 WHERE conversation_id = ?1 AND seq = ?2";
    LIST_RUNS = "SELECT user_id, id, message FROM runs WHERE message IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?2";
    SET_RUN = "UPDATE runs SET message = ?2 WHERE id = ?1";
    LIST_CALLS = "SELECT user_id, id, arguments, result FROM tool_calls WHERE id > ?1 ORDER BY id LIMIT ?2";
    SET_CALL = "UPDATE tool_calls SET arguments = ?2, result = ?3 WHERE id = ?1";
    LIST_UNDOS = "SELECT c.user_id, u.call_id, u.arguments FROM tool_undos u JOIN tool_calls c ON c.id = u.call_id
                  WHERE u.arguments IS NOT NULL AND u.call_id > ?1 ORDER BY u.call_id LIMIT ?2";
    SET_UNDO = "UPDATE tool_undos SET arguments = ?2 WHERE call_id = ?1";
    LIST_CONFIRMATIONS = "SELECT user_id, id, arguments, summary, result FROM confirmations WHERE id > ?1 ORDER BY id LIMIT ?2";
    SET_CONFIRMATION = "UPDATE confirmations SET arguments = ?2, summary = ?3, result = ?4 WHERE id = ?1";
}

/// Where a sealed value stands. The user is the key's.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The table that the value was made for.
    pub table: &'static str,
    /// Its column.
    pub column: &'static str,
    /// The row's name within the user's rows of the table.
    pub row: &'a str,
}

impl<'a> Place<'a> {
    /// A column of a row.
    #[must_use]
    pub const fn new(table: &'static str, column: &'static str, row: &'a str) -> Self {
        Self { table, column, row }
    }

    /// What is authenticated with a value: each part with its length before it, so that no two places read the same.
    fn bound(self, user: &str) -> Vec<u8> {
        let mut bound = b"hexward sealed value 1\0".to_vec();
        for part in [self.table, self.column, user, self.row] {
            bound.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            bound.extend(part.as_bytes());
        }
        bound
    }
}

/// One user's data key, for as long as a transaction lasts; or that of a file of the ledger's journal, as long as it is written. It has no Debug.
pub struct UserKey {
    user: String,
    /// None where there is none (any more): then nothing opens.
    key: Option<RandomizedNonceKey>,
}

impl UserKey {
    pub(crate) fn new(user: &str, bytes: &[u8; KEY_BYTES]) -> Result<Self, StoreError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| failed())?;
        Ok(Self { user: user.to_owned(), key: Some(key) })
    }

    fn key(&self) -> Result<&RandomizedNonceKey, StoreError> {
        self.key.as_ref().ok_or(StoreError::Sealed("the data key of its user is not there: it was erased or lost"))
    }

    /// Seals a text for a place.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] without a key.
    pub fn seal(&self, place: Place<'_>, text: &str) -> Result<String, StoreError> {
        let mut sealed = text.as_bytes().to_vec();
        let bound = Aad::from(place.bound(&self.user));
        let nonce = self.key()?.seal_in_place_append_tag(bound, &mut sealed).map_err(|_| failed())?;
        let mut out = String::with_capacity(2 + (sealed.len() + NONCE_LEN) * 4 / 3 + 2);
        out.push(FORM);
        BASE64URL_NOPAD.encode_append(&[nonce.as_ref().as_slice(), &sealed].concat(), &mut out);
        Ok(out)
    }

    /// The same of what may be missing.
    ///
    /// # Errors
    /// As [`UserKey::seal`].
    pub fn seal_opt(&self, place: Place<'_>, text: Option<&str>) -> Result<Option<String>, StoreError> {
        text.map(|text| self.seal(place, text)).transpose()
    }

    /// Opens a sealed text of a place.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] for what is not sealed, was changed, or was made for another place; and without its key.
    pub fn open(&self, place: Place<'_>, sealed: &str) -> Result<String, StoreError> {
        let encoded = sealed.strip_prefix(FORM).ok_or(StoreError::Sealed("a value is not sealed"))?;
        let changed = || StoreError::Sealed("a sealed value was changed, or stands in another place than it was made for");
        let mut bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| changed())?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN).ok_or_else(changed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| changed())?;
        let plain = self.key()?.open_in_place(nonce, Aad::from(place.bound(&self.user)), text).map_err(|_| changed())?;
        std::str::from_utf8(plain).map(str::to_owned).map_err(|_| changed())
    }

    /// The same of what may be missing.
    ///
    /// # Errors
    /// As [`UserKey::open`].
    pub fn open_opt(&self, place: Place<'_>, sealed: Option<&str>) -> Result<Option<String>, StoreError> {
        sealed.map(|sealed| self.open(place, sealed)).transpose()
    }
}

/// A transaction that has users' keys. Each is read once.
pub(crate) struct Keyed<'t> {
    tx: &'t mut dyn Tx,
    masters: Option<&'t Masters>,
    read: BTreeMap<String, Arc<UserKey>>,
}

impl<'t> Keyed<'t> {
    pub(crate) const fn new(tx: &'t mut dyn Tx, masters: Option<&'t Masters>) -> Self {
        Self { tx, masters, read: BTreeMap::new() }
    }
}

impl Tx for Keyed<'_> {
    fn query(&mut self, statement: Statement, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.tx.query(statement, params)
    }

    fn execute(&mut self, statement: Statement, params: &[Value]) -> Result<u64, StoreError> {
        self.tx.execute(statement, params)
    }

    fn clock(&mut self, ours: Timestamp) -> Result<Timestamp, StoreError> {
        self.tx.clock(ours)
    }

    fn key_of(&mut self, user: &str, made_at: Option<Timestamp>) -> Result<Arc<UserKey>, StoreError> {
        if let Some(key) = self.read.get(user) {
            return Ok(Arc::clone(key));
        }
        let masters = self.masters.ok_or(StoreError::Sealed("this database was opened without a master key"))?;
        let found = match read_key(self.tx, masters, user)? {
            Some(key) => Some(key),
            None => match made_at {
                Some(now) => {
                    make_key(self.tx, masters, user, now)?;
                    read_key(self.tx, masters, user)?
                }
                None => None,
            },
        };
        let Some(key) = found else { return Ok(Arc::new(UserKey { user: user.to_owned(), key: None })) };
        let key = Arc::new(key);
        self.read.insert(user.to_owned(), Arc::clone(&key));
        Ok(key)
    }
}

fn read_key(tx: &mut dyn Tx, masters: &Masters, user: &str) -> Result<Option<UserKey>, StoreError> {
    let Some(row) = tx.query_opt(READ_KEY, &[user.into()])? else { return Ok(None) };
    UserKey::new(user, &masters.unwrap(user, &row.text(0)?, &row.blob(1)?)?).map(Some)
}

/// Who was erased gets no key again: whatever of theirs is still under way ends here.
fn make_key(tx: &mut dyn Tx, masters: &Masters, user: &str, now: Timestamp) -> Result<(), StoreError> {
    if tx.query_opt(READ_ERASED, &[user.into()])?.is_some() {
        return Err(StoreError::Sealed("its user was erased"));
    }
    let (master, wrapped) = masters.wrap(user, &random()?)?;
    tx.execute(INSERT_KEY, &[user.into(), master.into(), wrapped.into(), now.0.into()])?;
    Ok(())
}

impl Store {
    /// The same database with the master keys, so that what people wrote in it can be read and written. What an older version left
    /// unsealed is sealed first, once, as a whole; from then on what is not sealed is refused.
    ///
    /// # Errors
    /// [`StoreError`], also when some data key is wrapped by a master key that is not among these; then nothing was sealed.
    pub async fn with_masters(self, masters: Masters) -> Result<Self, StoreError> {
        let store = Self { masters: Some(Arc::new(masters)), ..self };
        for row in store.read(|tx| tx.query(LIST_MASTERS, &[])).await? {
            store.masters.as_ref().map_or(Ok(()), |masters| masters.has(&row.text(0)?))?;
        }
        if store.read(|tx| tx.query_opt(READ_PASSED, &[])).await?.is_none() {
            store.write(seal_all).await?;
        }
        Ok(store)
    }

    /// Wraps every data key by the current master key; returns how many it was not wrapped by before. Wherever this stops, each is
    /// wrapped by one of the two, and the next call goes on.
    ///
    /// # Errors
    /// [`StoreError`], also when one is wrapped by a master key that is not there.
    pub async fn rewrap(&self) -> Result<u64, StoreError> {
        let masters = self.masters.clone().ok_or(StoreError::Sealed("this database was opened without a master key"))?;
        let mut rewrapped = 0_u64;
        loop {
            let masters = Arc::clone(&masters);
            let done = self.write(move |tx| rewrap_some(tx, &masters)).await?;
            if done == 0 {
                return Ok(rewrapped);
            }
            rewrapped = rewrapped.saturating_add(done);
        }
    }
}

fn rewrap_some(tx: &mut dyn Tx, masters: &Masters) -> Result<u64, StoreError> {
    let rows = tx.query(LIST_OLD, &[masters.current()?.into(), REWRAPPED_AT_ONCE.into()])?;
    for row in &rows {
        let user = row.text(0)?;
        let (master, wrapped) = masters.wrap(&user, &masters.unwrap(&user, &row.text(1)?, &row.blob(2)?)?)?;
        tx.execute(REWRAP, &[user.into(), master.into(), wrapped.into()])?;
    }
    Ok(u64::try_from(rows.len()).unwrap_or(u64::MAX))
}

/// The one pass over a database of before there were keys. One transaction: nobody sees half of it.
fn seal_all(tx: &mut dyn Tx) -> Result<(), StoreError> {
    if tx.query_opt(READ_PASSED, &[])?.is_some() {
        return Ok(());
    }
    let now = tx.clock(Timestamp(0))?;
    seal_column(tx, now, LIST_TITLES, SET_TITLE, "conversations", &["title"])?;
    seal_column(tx, now, LIST_RUNS, SET_RUN, "runs", &["message"])?;
    seal_column(tx, now, LIST_CALLS, SET_CALL, "tool_calls", &["arguments", "result"])?;
    seal_column(tx, now, LIST_UNDOS, SET_UNDO, "tool_undos", &["arguments"])?;
    seal_column(tx, now, LIST_CONFIRMATIONS, SET_CONFIRMATION, "confirmations", &["arguments", "summary", "result"])?;
    seal_messages(tx, now)?;
    tx.execute(INSERT_PASSED, &[]).map(|_| ())
}

fn seal_messages(tx: &mut dyn Tx, now: Timestamp) -> Result<(), StoreError> {
    let mut last = (String::new(), 0);
    loop {
        let rows = tx.query(LIST_CONTENTS, &[last.0.as_str().into(), last.1.into(), SEALED_AT_ONCE.into()])?;
        for row in &rows {
            let (user, conversation, seq) = (row.text(0)?, row.text(1)?, row.int(2)?);
            let key = tx.key_of(&user, Some(now))?;
            let sealed = key.seal(Place::new("messages", "content", &message_row(&conversation, seq)), &row.text(3)?)?;
            tx.execute(SET_CONTENT, &[(&conversation).into(), seq.into(), sealed.into()])?;
            last = (conversation, seq);
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}

/// User, id, then the columns.
fn seal_column(
    tx: &mut dyn Tx,
    now: Timestamp,
    list: Statement,
    set: Statement,
    table: &'static str,
    columns: &[&'static str],
) -> Result<(), StoreError> {
    let mut last = String::new();
    loop {
        let rows = tx.query(list, &[last.as_str().into(), SEALED_AT_ONCE.into()])?;
        for row in &rows {
            let (user, id) = (row.text(0)?, row.text(1)?);
            let key = tx.key_of(&user, Some(now))?;
            let mut params = vec![Value::from(&id)];
            for (index, column) in columns.iter().enumerate() {
                let text = row.opt_text(index.saturating_add(2))?;
                params.push(key.seal_opt(Place::new(table, column, &id), text.as_deref())?.into());
            }
            tx.execute(set, &params)?;
            last = id;
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}

/// How a message is named.
pub(crate) fn message_row(conversation: &str, seq: i64) -> String {
    format!("{conversation}:{seq}")
}
