//! TOML files of the operator's: read as a whole, refused with file, line, column and what was expected.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// What is wrong with a file of the operator's.
#[derive(Debug, thiserror::Error)]
pub enum Mistake {
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something in the file is wrong.
    #[error("{at}: {message}")]
    At {
        /// Where.
        at: Position,
        /// What is wrong, and what was expected.
        message: String,
    },
}

/// A place in a file, printed as `FILE:LINE:COLUMN`, both counted from 1; the column counts characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file.
    pub file: PathBuf,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

impl Position {
    /// A mistake here.
    pub fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake::At { at: self.clone(), message: message.into() }
    }
}

/// A file's text, which knows where in it something stands.
#[derive(Debug)]
pub struct TomlFile {
    path: PathBuf,
    text: String,
}

impl TomlFile {
    /// Reads the whole file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not UTF-8.
    pub fn read(path: &Path) -> Result<TomlFile, Mistake> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Mistake::Unreadable { file: path.to_owned(), source })?;
        Ok(TomlFile::new(path, text))
    }

    /// A file with this text.
    pub fn new(path: &Path, text: String) -> TomlFile {
        TomlFile { path: path.to_owned(), text }
    }

    /// The text as a `T`.
    ///
    /// # Errors
    ///
    /// The first thing that is no TOML, unknown, missing, or not as `T` wants it.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Mistake> {
        toml::from_str(&self.text)
            .map_err(|error| self.mistake(error.span().unwrap_or_default(), error.message().replace('\n', "; ")))
    }

    /// A mistake at a span of bytes of the text.
    pub fn mistake(&self, span: Range<usize>, message: impl Into<String>) -> Mistake {
        self.position(span).mistake(message)
    }

    /// Where a span of bytes of the text begins.
    pub fn position(&self, span: Range<usize>) -> Position {
        let before = &self.text[..self.text.floor_char_boundary(span.start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            file: self.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// A path in the file, which is relative to the folder that the file is in.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_and_characters() {
        let file = TomlFile::new(Path::new("a.toml"), "x = 1\nä = 2\n".to_owned());
        assert_eq!(file.position(0..1).to_string(), "a.toml:1:1");
        assert_eq!(file.position(9..10).to_string(), "a.toml:2:3");
        assert_eq!(file.position(99..100).to_string(), "a.toml:3:1");
    }

    #[test]
    fn what_is_no_toml_is_refused_where_it_stands() {
        let file = TomlFile::new(Path::new("a.toml"), "x = 1\ny = = 2\n".to_owned());
        let mistake = file.parse::<toml::Table>().expect_err("no TOML");
        assert!(mistake.to_string().starts_with("a.toml:2:5: "), "{mistake}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let mistake = TomlFile::read(Path::new("no/such.toml")).expect_err("no file");
        assert!(mistake.to_string().starts_with("no/such.toml: "), "{mistake}");
    }
}
