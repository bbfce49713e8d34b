//! Why the files with API keys cannot be used.

use std::io;

/// Why the keys cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The system did not give the file.
    #[error("{0}")]
    Io(io::Error),
    /// It is not as it should be: says where and why, but never what stands there, which may be a key.
    #[error("{0}")]
    Text(String),
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Text(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io(error) => error,
            FileError::Text(text) => Self::new(io::ErrorKind::InvalidData, text),
        }
    }
}
