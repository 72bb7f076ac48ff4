//! The few kinds of values both engines share: integers (64 bit), text and bytes.

use crate::StoreError;

/// A parameter or a column. Times are microseconds since 1970, money is micro-dollars, booleans are 0 and 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// BIGINT / INTEGER.
    Int(i64),
    /// TEXT.
    Text(String),
    /// BYTEA / BLOB.
    Blob(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}
impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value)
    }
}
impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Blob(value.to_vec())
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of a result; columns are read by position, with the type the caller expects.
#[derive(Clone, Debug)]
pub struct Row(pub(crate) Vec<Value>);

impl Row {
    fn column(&self, index: usize) -> Result<&Value, StoreError> {
        self.0.get(index).ok_or_else(|| StoreError::Statement(format!("no column {index} in a row of {}", self.0.len())))
    }

    fn wrong<T>(index: usize, value: &Value, wanted: &str) -> Result<T, StoreError> {
        Err(StoreError::Statement(format!("column {index} is {value:?}, not {wanted}")))
    }

    /// A non-null integer.
    ///
    /// # Errors
    /// [`StoreError::Statement`] when the column is missing or of another type, as for every reader here.
    pub fn int(&self, index: usize) -> Result<i64, StoreError> {
        match self.column(index)? {
            Value::Int(value) => Ok(*value),
            other @ (Value::Null | Value::Text(_) | Value::Blob(_)) => Self::wrong(index, other, "an integer"),
        }
    }

    /// A boolean kept as 0 or 1.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn bool(&self, index: usize) -> Result<bool, StoreError> {
        Ok(self.int(index)? != 0)
    }

    /// An integer or NULL.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn opt_int(&self, index: usize) -> Result<Option<i64>, StoreError> {
        match self.column(index)? {
            Value::Null => Ok(None),
            Value::Int(_) | Value::Text(_) | Value::Blob(_) => self.int(index).map(Some),
        }
    }

    /// A non-null text.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn text(&self, index: usize) -> Result<String, StoreError> {
        match self.column(index)? {
            Value::Text(value) => Ok(value.clone()),
            other @ (Value::Null | Value::Int(_) | Value::Blob(_)) => Self::wrong(index, other, "text"),
        }
    }

    /// A text or NULL.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn opt_text(&self, index: usize) -> Result<Option<String>, StoreError> {
        match self.column(index)? {
            Value::Null => Ok(None),
            Value::Int(_) | Value::Text(_) | Value::Blob(_) => self.text(index).map(Some),
        }
    }

    /// Non-null bytes.
    ///
    /// # Errors
    /// As [`Row::int`].
    pub fn blob(&self, index: usize) -> Result<Vec<u8>, StoreError> {
        match self.column(index)? {
            Value::Blob(value) => Ok(value.clone()),
            other @ (Value::Null | Value::Int(_) | Value::Text(_)) => Self::wrong(index, other, "bytes"),
        }
    }
}
