//! Conversations and what was said in them. Every read is keyed by the owner: what belongs to another does not exist.

use crate::vault::message_row;
use crate::{Place, Store, StoreError, Tx, Value, statements};
use policy::{ConversationId, RunId, Timestamp, UserId};

statements! { ALL:
    INSERT = "INSERT INTO conversations (id, user_id, app, title, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5)";
    /// 3 is every skill of the app.
    LIST = "SELECT id, title, updated_at FROM conversations WHERE user_id = ?1 AND (app = ?2 OR app LIKE ?3) ORDER BY updated_at DESC, id DESC LIMIT 100";
    READ = "SELECT app, title FROM conversations WHERE id = ?1 AND user_id = ?2";
    OWNER = "SELECT user_id FROM conversations WHERE id = ?1";
    READ_TITLE = "SELECT user_id, title FROM conversations WHERE id = ?1";
    TOUCH = "UPDATE conversations SET updated_at = ?2, title = ?3 WHERE id = ?1";
    NEXT_SEQ = "SELECT CAST(COALESCE(MAX(seq), 0) + 1 AS BIGINT) FROM messages WHERE conversation_id = ?1";
    INSERT_MESSAGE = "INSERT INTO messages (conversation_id, seq, run_id, role, content, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    LIST_MESSAGES = "SELECT role, content, seq FROM messages WHERE conversation_id = ?1 ORDER BY seq";
}

/// A line of the list of conversations.
#[derive(Clone, Debug)]
pub struct ConversationLine {
    /// Which.
    pub id: String,
    /// The beginning of its first message.
    pub title: String,
    /// When something was last said in it.
    pub updated_at: Timestamp,
}

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The person.
    User,
    /// The model, as the gateway saw its stream.
    Assistant,
    /// A tool call and its result, as the gateway saw them.
    Tool,
}

impl Role {
    /// As it stands in the table and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

const TITLE_CHARS_MAX: usize = 60;

impl Store {
    /// A new conversation of this user with this app.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_conversation(&self, user: UserId, app: &str, now: Timestamp) -> Result<ConversationId, StoreError> {
        let (id, app) = (ConversationId::random(), app.to_owned());
        self.write(move |tx| {
            let (id, user) = (id.to_string(), user.to_string());
            let title = tx.key_of(&user, Some(now))?.seal(title_of(&id), "")?;
            tx.execute(INSERT, &[id.into(), user.into(), (&app).into(), title.into(), now.0.into()])
        })
        .await?;
        Ok(id)
    }

    /// The user's conversations with an app and all its skills, newest first, at most 100.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn conversations_of(&self, user: UserId, app: &str) -> Result<Vec<ConversationLine>, StoreError> {
        let app = app.to_owned();
        self.read(move |tx| {
            let rows = tx.query(LIST, &[user.to_string().into(), (&app).into(), format!("{app}/%").into()])?;
            let key = tx.key_of(&user.to_string(), None)?;
            rows.iter()
                .map(|row| {
                    let id = row.text(0)?;
                    let title = key.open(title_of(&id), &row.text(1)?)?;
                    Ok(ConversationLine { id, title, updated_at: Timestamp(row.int(2)?) })
                })
                .collect()
        })
        .await
    }

    /// The messages of the user's conversation in order: (role, JSON text); `None` when they have no such conversation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn messages_of(&self, user: UserId, id: ConversationId) -> Result<Option<Vec<(String, String)>>, StoreError> {
        self.read(move |tx| {
            if app_of(tx, user, id)?.is_none() {
                return Ok(None);
            }
            let id = id.to_string();
            let rows = tx.query(LIST_MESSAGES, &[(&id).into()])?;
            let key = tx.key_of(&user.to_string(), None)?;
            let message = |row: &crate::Row| {
                let name = message_row(&id, row.int(2)?);
                Ok((row.text(0)?, key.open(Place::new("messages", "content", &name), &row.text(1)?)?))
            };
            rows.iter().map(message).collect::<Result<Vec<_>, StoreError>>().map(Some)
        })
        .await
    }

    /// The key of the app of the user's conversation, a skill after a slash; none if they have no such conversation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn app_of_conversation(&self, user: UserId, id: ConversationId) -> Result<Option<String>, StoreError> {
        self.read(move |tx| app_of(tx, user, id)).await
    }

    /// Adds what was said at the end of a conversation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn append_message(
        &self,
        id: ConversationId,
        run: RunId,
        role: Role,
        content: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |tx| append(tx, id, run, role, &content, now)).await
    }
}

/// The app of the user's conversation, if it is theirs.
pub(crate) fn app_of(tx: &mut dyn Tx, user: UserId, id: ConversationId) -> Result<Option<String>, StoreError> {
    tx.query_opt(READ, &[id.to_string().into(), user.to_string().into()])?.map(|row| row.text(0)).transpose()
}

pub(crate) fn append(
    tx: &mut dyn Tx,
    id: ConversationId,
    run: RunId,
    role: Role,
    content: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = id.to_string();
    let conversation = Value::from(&id);
    let owner = tx.query_one(OWNER, std::slice::from_ref(&conversation))?.text(0)?;
    let seq = tx.query_one(NEXT_SEQ, std::slice::from_ref(&conversation))?.int(0)?;
    let place = message_row(&id, seq);
    let content = tx.key_of(&owner, Some(now))?.seal(Place::new("messages", "content", &place), content)?;
    tx.execute(
        INSERT_MESSAGE,
        &[conversation, seq.into(), run.to_string().into(), role.as_str().into(), content.into(), now.0.into()],
    )?;
    Ok(())
}

pub(crate) fn touch(tx: &mut dyn Tx, id: ConversationId, text: &str, now: Timestamp) -> Result<(), StoreError> {
    let title: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TITLE_CHARS_MAX).collect();
    let id = id.to_string();
    let row = tx.query_one(READ_TITLE, &[(&id).into()])?;
    let (key, kept) = (tx.key_of(&row.text(0)?, Some(now))?, row.text(1)?);
    let title = if key.open(title_of(&id), &kept)?.is_empty() { key.seal(title_of(&id), &title)? } else { kept };
    tx.execute(TOUCH, &[(&id).into(), now.0.into(), title.into()])?;
    Ok(())
}

const fn title_of(id: &str) -> Place<'_> {
    Place { table: "conversations", column: "title", row: id }
}
