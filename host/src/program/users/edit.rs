//! `postbell user`: edits a users file and keeps its comments.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};
use zeroize::Zeroizing;

use super::{RankWord, directory, load};
use crate::contract::requests::Rank;
use crate::program::Failure;
use crate::program::toml_file::TomlFile;
use crate::serve::directory::{MayActFor, User};
use crate::serve::passwords;

/// `postbell user ...`.
#[derive(Subcommand, Debug)]
pub enum UserCommand {
    /// Add a user; asks for the password, or reads a line of standard input.
    Add(AddArgs),
    /// Set a user's password; asks for it, or reads a line of standard input.
    Passwd {
        /// The users file.
        #[arg(long, value_name = "FILE")]
        users: PathBuf,
        /// The user's full address.
        name: String,
    },
    /// List the users: name, id, rank, and for whom each may act.
    List {
        /// The users file.
        #[arg(long, value_name = "FILE")]
        users: PathBuf,
    },
}

/// `postbell user add ...`.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// The users file; made where there is none.
    #[arg(long, value_name = "FILE")]
    users: PathBuf,
    /// The full address, such as alice@example.org.
    name: String,
    /// The account's id [default: the name].
    #[arg(long)]
    id: Option<String>,
    /// What to type as login besides the name [default: the name's local part].
    #[arg(long)]
    login: Option<String>,
    /// What the user may do.
    #[arg(long, value_enum)]
    rank: Option<RankWord>,
    /// Another user that it may act for, or `*`; may be given again.
    #[arg(long, value_name = "NAME")]
    may_act_for: Vec<String>,
    /// A name for people.
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Another address of the user's; may be given again.
    #[arg(long = "alias", value_name = "ADDRESS")]
    aliases: Vec<String>,
}

/// Does what the command says.
///
/// # Errors
///
/// The file is wrong or would become so, the user exists or does not, or the file cannot be written.
pub fn run(command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Add(args) => {
            let mut document = read(&args.users)?;
            let password = ask_password(&args.name)?;
            add(&mut document, &args, &hash(&password)?)?;
            write_checked(&args.users, &document.to_string())
        }
        UserCommand::Passwd { users, name } => {
            let mut document = read(&users)?;
            let table = find(&mut document, &name)
                .ok_or_else(|| Failure::Usage(format!("{}: there is no user {name}", users.display())))?;
            let password = ask_password(&name)?;
            set(table, "password", hash(&password)?);
            write_checked(&users, &document.to_string())
        }
        UserCommand::List { users } => list(&users),
    }
}

fn list(path: &Path) -> Result<(), Failure> {
    let directory = load(path)?;
    let mut out = io::stdout().lock();
    for user in directory.users() {
        writeln!(out, "{}", line(user)).context("standard output")?;
    }
    Ok(())
}

fn line(user: &User) -> String {
    let rank = match user.rank {
        Rank::User => "user",
        Rank::DelegatedAdministrator => "delegated-administrator",
        Rank::Administrator => "administrator",
    };
    let may_act_for = match &user.may_act_for {
        MayActFor::Everyone => "*".to_owned(),
        MayActFor::These(names) if names.is_empty() => "-".to_owned(),
        MayActFor::These(names) => names.join(","),
    };
    format!("{}\t{}\t{rank}\t{may_act_for}", user.account.name, user.account.id)
}

/// The file as it is, comments and all; empty where there is none. What is wrong already is not made worse.
fn read(path: &Path) -> Result<DocumentMut, Failure> {
    if !path.exists() {
        return Ok(DocumentMut::new());
    }
    load(path)?;
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.parse::<DocumentMut>().with_context(|| path.display().to_string())?)
}

fn add(document: &mut DocumentMut, args: &AddArgs, hash: &str) -> Result<(), Failure> {
    if find(document, &args.name).is_some() {
        return Err(Failure::Usage(format!("{}: there is a user {} already", args.users.display(), args.name)));
    }
    let mut table = Table::new();
    set(&mut table, "name", args.name.clone());
    for (key, text) in [("id", &args.id), ("login", &args.login), ("display-name", &args.display_name)] {
        if let Some(text) = text {
            set(&mut table, key, text.clone());
        }
    }
    set(&mut table, "password", hash.to_owned());
    if let Some(rank) = args.rank {
        let word = clap::ValueEnum::to_possible_value(&rank).expect("every rank has a word");
        set(&mut table, "rank", word.get_name().to_owned());
    }
    for (key, texts) in [("may-act-for", &args.may_act_for), ("aliases", &args.aliases)] {
        if !texts.is_empty() {
            table[key] = value(texts.iter().collect::<Array>());
        }
    }
    match document.entry("user").or_insert(Item::ArrayOfTables(ArrayOfTables::new())) {
        Item::ArrayOfTables(users) => users.push(table),
        _ => return Err(Failure::Usage(format!("{}: write `user` as [[user]] tables", args.users.display()))),
    }
    Ok(())
}

/// The table of the user with this name, compared without regard to case.
fn find<'a>(document: &'a mut DocumentMut, name: &str) -> Option<&'a mut Table> {
    let users = document.get_mut("user")?.as_array_of_tables_mut()?;
    users.iter_mut().find(|table| {
        table.get("name").and_then(Item::as_str).is_some_and(|found| found.to_lowercase() == name.to_lowercase())
    })
}

fn set(table: &mut Table, key: &str, text: String) {
    table[key] = value(text);
}

fn hash(password: &str) -> Result<String, Failure> {
    Ok(passwords::hash(password).map_err(|error| anyhow::anyhow!("the password cannot be hashed: {error}"))?)
}

fn ask_password(name: &str) -> Result<Zeroizing<String>, Failure> {
    let password = if io::stdin().is_terminal() { from_terminal(name)? } else { from_line(io::stdin().lock())? };
    if password.is_empty() {
        return Err(Failure::Usage("a password must not be empty".to_owned()));
    }
    Ok(password)
}

fn from_terminal(name: &str) -> Result<Zeroizing<String>, Failure> {
    let ask = |prompt: String| rpassword::prompt_password(prompt).map(Zeroizing::new).context("the terminal");
    let password = ask(format!("Password of {name}: "))?;
    if password != ask("Again: ".to_owned())? {
        return Err(Failure::Usage("the two passwords differ".to_owned()));
    }
    Ok(password)
}

fn from_line(mut input: impl BufRead) -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    input.read_line(&mut line).context("standard input")?;
    Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Writes the text if it is a good users file.
fn write_checked(path: &Path, text: &str) -> Result<(), Failure> {
    directory(&TomlFile::new(path, text.to_owned()))?;
    Ok(write(path, text).with_context(|| path.display().to_string())?)
}

/// At once or not at all; readable by the owner alone, who stays the same. A symbolic link stays one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let target = if path.exists() { path.canonicalize()? } else { path.to_owned() };
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    if let Ok(before) = target.metadata() {
        let now = file.as_file().metadata()?;
        if (before.uid(), before.gid()) != (now.uid(), now.gid()) {
            fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
        }
    }
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&target).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::passwords::tests::cheap_hash;
    use std::os::unix::fs::PermissionsExt;

    fn args(users: &Path, name: &str) -> AddArgs {
        AddArgs {
            users: users.to_owned(),
            name: name.to_owned(),
            id: None,
            login: None,
            rank: None,
            may_act_for: Vec::new(),
            display_name: None,
            aliases: Vec::new(),
        }
    }

    fn added(args: &AddArgs) -> Result<(), Failure> {
        let mut document = read(&args.users)?;
        add(&mut document, args, &cheap_hash("secret"))?;
        write_checked(&args.users, &document.to_string())
    }

    #[test]
    fn comments_and_other_users_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users.toml");
        std::fs::write(&path, "# ours\n\n[[user]] # first\nname = 'alice@x' # she\n").expect("written");
        let more = AddArgs {
            id: Some("4711".to_owned()),
            rank: Some(RankWord::Administrator),
            may_act_for: vec!["alice@x".to_owned()],
            aliases: vec!["b@x".to_owned()],
            ..args(&path, "bob@x")
        };
        added(&more).expect("added");
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(
            text.starts_with("# ours\n\n[[user]] # first\nname = 'alice@x' # she\n\n[[user]]\nname = \"bob@x\"\n"),
            "{text}"
        );
        let bob = load(&path).expect("good").by_login("bob").expect("bob").clone();
        assert_eq!(line(&bob), "bob@x\t4711\tadministrator\talice@x");
    }

    #[test]
    fn a_new_file_is_the_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users.toml");
        added(&args(&path, "alice@x")).expect("added");
        assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
        let names: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
        assert_eq!(names.len(), 1, "nothing temporary is left");
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("users.toml"), folder.path().join("link.toml"));
        std::fs::write(&path, "").expect("written");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        added(&args(&link, "alice@x")).expect("added");
        assert!(link.is_symlink() && load(&path).expect("good").by_login("alice").is_some());
    }

    #[test]
    fn a_name_is_added_once_and_a_bad_file_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users.toml");
        added(&args(&path, "alice@x")).expect("added");
        let before = std::fs::read_to_string(&path).expect("a file");
        assert!(matches!(added(&args(&path, "ALICE@x")), Err(Failure::Usage(_))));
        assert!(matches!(added(&args(&path, "no address")), Err(Failure::Configuration(_))));
        assert!(matches!(
            added(&AddArgs { may_act_for: vec!["zoe@x".to_owned()], ..args(&path, "bob@x") }),
            Err(Failure::Configuration(_))
        ));
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), before);
    }

    #[test]
    fn a_password_is_a_line_of_input() {
        for (input, expected) in
            [("se cret\n", "se cret"), ("secret\r\nmore", "secret"), ("secret", "secret"), ("", "")]
        {
            assert_eq!(from_line(input.as_bytes()).expect("a line").as_str(), expected);
        }
    }
}
