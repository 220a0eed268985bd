//! Users files: read for serving, and edited by `postbell user`.

mod edit;

use std::fmt;
use std::path::Path;

use clap::ValueEnum;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use toml::Spanned;

use super::toml_file::{Mistake, TomlFile};
use crate::contract::changes::Account;
use crate::contract::requests::Rank;
use crate::serve::directory::{Directory, MayActFor, User};
use crate::serve::passwords;

pub use edit::{UserCommand, run};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTable {
    #[serde(default)]
    user: Vec<Spanned<UserTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct UserTable {
    name: Spanned<String>,
    id: Option<Spanned<String>>,
    login: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
    #[serde(default)]
    rank: RankWord,
    #[serde(default)]
    may_act_for: Names,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    aliases: Vec<Spanned<String>>,
}

/// What a user may do in its tenant.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RankWord {
    /// Use its own account, and those that it may act for.
    #[default]
    User,
    /// Administrative requests, for the accounts that it may act for.
    DelegatedAdministrator,
    /// Everything, for every account.
    Administrator,
}

/// `"*"`, or a list of names and ids (or of `"*"`).
enum Names {
    Everyone,
    These(Vec<Spanned<String>>),
}

impl Default for Names {
    fn default() -> Names {
        Names::These(Vec::new())
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Names;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("\"*\" or a list of names or ids of users")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Names, E> {
                let wrong = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
                if text == "*" { Ok(Names::Everyone) } else { Err(wrong()) }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Names, A::Error> {
                let mut these = Vec::new();
                while let Some(name) = names.next_element::<Spanned<String>>()? {
                    these.push(name);
                }
                let everyone = these.iter().any(|name| name.get_ref() == "*");
                Ok(if everyone { Names::Everyone } else { Names::These(these) })
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// Reads a users file.
///
/// # Errors
///
/// The first mistake in it.
pub fn load(path: &Path) -> Result<Directory, Mistake> {
    directory(&TomlFile::read(path)?)
}

fn directory(file: &TomlFile) -> Result<Directory, Mistake> {
    let FileTable { user: tables } = file.parse()?;
    let users = tables.iter().map(|table| user(file, table.get_ref())).collect::<Result<Vec<_>, _>>()?;
    let directory = Directory::new(users).map_err(|clash| {
        let table = tables[clash.user].get_ref();
        let place = match clash.word {
            "id" => table.id.as_ref(),
            "login" => table.login.as_ref(),
            "alias" => table.aliases.iter().find(|alias| alias.get_ref().to_lowercase() == clash.value),
            _ => None,
        };
        file.mistake(place.unwrap_or(&table.name).span(), format!("the {clash}; expected another"))
    })?;
    for table in &tables {
        refuse_unknown_names(file, &directory, &table.get_ref().may_act_for)?;
    }
    Ok(directory)
}

fn user(file: &TomlFile, table: &UserTable) -> Result<User, Mistake> {
    let texts = [Some(&table.name), table.id.as_ref(), table.login.as_ref()];
    for text in texts.into_iter().flatten().chain(&table.aliases) {
        if text.get_ref().trim().is_empty() || text.get_ref().contains(char::is_control) {
            return Err(file.mistake(text.span(), "expected text that is not empty"));
        }
    }
    if !table.name.get_ref().contains('@') {
        return Err(file.mistake(table.name.span(), "expected a full address, such as alice@example.org"));
    }
    if let Some(password) = &table.password {
        passwords::check_hash(password.get_ref()).map_err(|why| {
            let expected = "expected an argon2id hash ($argon2id$...), as `postbell user passwd` writes it";
            file.mistake(password.span(), format!("{expected}: {why}"))
        })?;
    }
    let name = table.name.get_ref().clone();
    Ok(User {
        account: Account {
            id: table.id.as_ref().map_or_else(|| name.clone(), |id| id.get_ref().clone()),
            name,
            aliases: table.aliases.iter().map(|alias| alias.get_ref().clone()).collect(),
        },
        login: table.login.as_ref().map(|login| login.get_ref().clone()),
        password: table.password.as_ref().map(|password| password.get_ref().clone()),
        rank: table.rank.rank(),
        may_act_for: table.may_act_for.may_act_for(),
        display_name: table.display_name.clone(),
    })
}

fn refuse_unknown_names(file: &TomlFile, directory: &Directory, names: &Names) -> Result<(), Mistake> {
    let Names::These(names) = names else { return Ok(()) };
    for name in names {
        if directory.by_id(name.get_ref()).or_else(|| directory.by_name(name.get_ref())).is_none() {
            return Err(file.mistake(name.span(), "expected \"*\", or the name or id of a user in this file"));
        }
    }
    Ok(())
}

impl RankWord {
    fn rank(self) -> Rank {
        match self {
            RankWord::User => Rank::User,
            RankWord::DelegatedAdministrator => Rank::DelegatedAdministrator,
            RankWord::Administrator => Rank::Administrator,
        }
    }
}

impl Names {
    fn may_act_for(&self) -> MayActFor {
        match self {
            Names::Everyone => MayActFor::Everyone,
            Names::These(names) => MayActFor::These(names.iter().map(|name| name.get_ref().clone()).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::passwords::tests::cheap_hash;

    fn users(text: &str) -> Result<Directory, Mistake> {
        directory(&TomlFile::new(Path::new("u.toml"), text.to_owned()))
    }

    /// The file is refused at this line and column, with a message that has this in it.
    fn check(text: &str, place: &str, message: &str) {
        let mistake = users(text).expect_err(text).to_string();
        assert!(
            mistake.starts_with(&format!("u.toml:{place}: ")) && mistake.contains(message),
            "{text:?}\n gives {mistake:?}"
        );
    }

    #[test]
    fn a_name_is_enough() {
        let directory = users("[[user]]\nname = 'alice@example.org'\n").expect("good");
        let alice = directory.by_login("alice").expect("alice");
        assert_eq!((alice.account.id.as_str(), alice.rank), ("alice@example.org", Rank::User));
        assert!(users("").expect("nobody").users().is_empty());
    }

    #[test]
    fn everything_can_be_said() {
        let text = format!(
            "[[user]]
            name = 'alice@example.org'
            id = '4711'
            login = 'al'
            password = '{}'
            rank = 'delegated-administrator'
            may-act-for = ['bob@example.org', '42']
            display-name = 'Alice'
            aliases = ['a@example.org']
            [[user]]
            name = 'bob@example.org'
            id = '42'
            may-act-for = '*'
            ",
            cheap_hash("x")
        );
        let directory = users(&text).expect("good");
        let alice = directory.by_login("al").expect("alice");
        assert_eq!((alice.display_name.as_str(), alice.rank), ("Alice", Rank::DelegatedAdministrator));
        assert_eq!(alice.may_act_for, MayActFor::These(vec!["bob@example.org".to_owned(), "42".to_owned()]));
        assert_eq!(directory.by_login("bob").expect("bob").may_act_for, MayActFor::Everyone);
    }

    #[test]
    fn a_mistake_is_refused_where_it_stands() {
        let alice = "[[user]]\nname = 'alice@x'\n";
        check("[[user]]\nid = '1'\n", "1:1", "missing field `name`");
        check("[[user]]\nname = 'alice'\n", "2:8", "expected a full address");
        check(&format!("{alice}colour = 1"), "3:1", "unknown field `colour`, expected one of `name`");
        check(&format!("{alice}password = 'secret'"), "3:12", "expected an argon2id hash");
        check(&format!("{alice}rank = 'king'"), "3:8", "expected one of `user`, `delegated-administrator`");
        check(&format!("{alice}may-act-for = 'bob'"), "3:15", "\"*\" or a list");
        check(&format!("{alice}may-act-for = ['bob@x']"), "3:16", "name or id of a user");
        check(&format!("{alice}login = ''"), "3:9", "not empty");
        check(&format!("{alice}[[user]]\nname = 'Alice@X'"), "4:8", "belongs to an earlier user");
        check(&format!("{alice}id = '1'\n[[user]]\nname = 'bob@x'\nid = '1'"), "6:6", "belongs to an earlier user");
        check(&format!("{alice}[[user]]\nname = 'bob@x'\nlogin = 'alice@x'"), "5:9", "belongs to an earlier user");
        check(
            &format!("{alice}[[user]]\nname = 'bob@x'\naliases = ['a', 'ALICE@x']"),
            "5:17",
            "belongs to an earlier user",
        );
    }
}
