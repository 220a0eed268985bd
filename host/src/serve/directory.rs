//! Who may log in to a tenant, and for whom each may act.

use std::collections::HashMap;
use std::sync::Arc;

use crate::contract::changes::Account;
use crate::contract::requests::{AccountName, Rank, Resolution, Standing};

/// One who may log in.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// The account; its `name` is the full address.
    pub account: Account,
    /// What to type as login besides the name; none: the name's local part, if no other user's is the same.
    pub login: Option<String>,
    /// The password's argon2id hash as a PHC string; none: no login by password.
    pub password: Option<String>,
    /// What it may do in the tenant.
    pub rank: Rank,
    /// The accounts that it may act for.
    pub may_act_for: MayActFor,
    /// A name for people; may be empty.
    pub display_name: String,
}

/// The accounts that a user may act for, besides its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MayActFor {
    /// All of the tenant.
    Everyone,
    /// These names or ids.
    These(Vec<String>),
}

/// Why two users cannot stand in one directory.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word} {value:?} belongs to an earlier user")]
pub struct Clash {
    /// The later of the two, counted from 0.
    pub user: usize,
    /// What both have: `id`, `name`, `alias` or `login`.
    pub word: &'static str,
    /// The value that both have.
    pub value: String,
}

/// The users of a tenant. Ids are compared as they are, names, aliases and logins without regard to case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directory {
    users: Vec<Arc<User>>,
    by_id: HashMap<String, usize>,
    by_name: HashMap<String, usize>,
    by_login: HashMap<String, usize>,
}

impl Directory {
    /// A directory of these users.
    ///
    /// # Errors
    ///
    /// Two users share an id, a name or alias, or a login.
    pub fn new(users: Vec<User>) -> Result<Directory, Clash> {
        let mut directory = Directory::default();
        for (index, user) in users.iter().enumerate() {
            enter(&mut directory.by_id, "id", &user.account.id, index)?;
            enter(&mut directory.by_name, "name", &fold(&user.account.name), index)?;
            enter(&mut directory.by_login, "login", &fold(&user.account.name), index)?;
            for alias in &user.account.aliases {
                enter(&mut directory.by_name, "alias", &fold(alias), index)?;
            }
        }
        for (index, user) in users.iter().enumerate() {
            if let Some(login) = &user.login {
                enter(&mut directory.by_login, "login", &fold(login), index)?;
            }
        }
        directory.enter_local_parts(&users);
        directory.users = users.into_iter().map(Arc::new).collect();
        Ok(directory)
    }

    /// Local parts are logins only where that is not ambiguous.
    fn enter_local_parts(&mut self, users: &[User]) {
        let mut owners: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, user) in users.iter().enumerate() {
            if let (None, Some((local, _))) = (&user.login, user.account.name.split_once('@')) {
                owners.entry(fold(local)).or_default().push(index);
            }
        }
        for user in users {
            let local = fold(user.account.name.split('@').next().unwrap_or_default());
            if let Some([only]) = owners.get(&local).map(Vec::as_slice) {
                self.by_login.entry(local).or_insert(*only);
            }
        }
    }

    /// All users, in their order.
    pub fn users(&self) -> &[Arc<User>] {
        &self.users
    }

    /// The user who logs in like this.
    pub fn by_login(&self, login: &str) -> Option<&Arc<User>> {
        self.by_login.get(&fold(login)).map(|index| &self.users[*index])
    }

    /// The user with this id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<User>> {
        self.by_id.get(id).map(|index| &self.users[*index])
    }

    /// The user that a request names. Security identifiers (SID) are nobody's.
    pub fn find(&self, name: &AccountName) -> Option<&Arc<User>> {
        match name {
            AccountName::Id(id) => self.by_id(id),
            AccountName::Address(address) => self.by_name(address),
            AccountName::Name(name) | AccountName::PrincipalName(name) => {
                self.by_name(name).or_else(|| self.by_login(name))
            }
            AccountName::Sid(_) => None,
        }
    }

    /// How `caller`, acting with `rank`, stands to the account that a request names.
    pub fn resolve(&self, caller: &User, rank: Rank, name: &AccountName) -> Resolution {
        let Some(user) = self.find(name) else {
            return Resolution { account: None, standing: Standing::Unknown };
        };
        let standing = if user.account.id == caller.account.id {
            Standing::Itself
        } else if rank == Rank::Administrator || self.may_act(caller, user) {
            Standing::Permitted
        } else {
            Standing::Forbidden
        };
        Resolution { account: Some(user.account.clone()), standing }
    }

    fn may_act(&self, caller: &User, user: &User) -> bool {
        match &caller.may_act_for {
            MayActFor::Everyone => true,
            MayActFor::These(names) => names.iter().any(|name| self.is_named(user, name)),
        }
    }

    /// Whether a name or id of a users file means this user.
    fn is_named(&self, user: &User, name: &str) -> bool {
        self.by_id(name).or_else(|| self.by_name(name)).is_some_and(|found| found.account.id == user.account.id)
    }

    /// The user with this name or alias.
    pub fn by_name(&self, name: &str) -> Option<&Arc<User>> {
        self.by_name.get(&fold(name)).map(|index| &self.users[*index])
    }
}

fn fold(name: &str) -> String {
    name.to_lowercase()
}

fn enter(map: &mut HashMap<String, usize>, word: &'static str, value: &str, user: usize) -> Result<(), Clash> {
    match map.insert(value.to_owned(), user) {
        Some(earlier) if earlier != user => Err(Clash { user, word, value: value.to_owned() }),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A user whose id is its name.
    pub(crate) fn user(name: &str) -> User {
        User {
            account: Account { id: name.to_owned(), name: name.to_owned(), aliases: Vec::new() },
            login: None,
            password: None,
            rank: Rank::User,
            may_act_for: MayActFor::These(Vec::new()),
            display_name: String::new(),
        }
    }

    #[test]
    fn the_name_and_the_local_part_log_in_without_regard_to_case() {
        let directory = Directory::new(vec![user("Alice@example.org")]).expect("one user");
        for login in ["alice@example.org", "ALICE@EXAMPLE.ORG", "alice", "Alice"] {
            assert!(directory.by_login(login).is_some(), "{login}");
        }
        assert!(directory.by_login("alice@example.com").is_none());
        assert!(directory.by_login("").is_none());
    }

    #[test]
    fn a_local_part_of_two_users_is_nobodys_login() {
        let directory = Directory::new(vec![user("a@one.example"), user("a@two.example")]).expect("two users");
        assert!(directory.by_login("a").is_none());
        assert!(directory.by_login("a@two.example").is_some());
    }

    #[test]
    fn a_login_of_ones_own_replaces_the_local_part() {
        let alice = User { login: Some("al".to_owned()), ..user("alice@example.org") };
        let directory = Directory::new(vec![alice, user("al@example.org")]).expect("two users");
        assert!(directory.by_login("alice").is_none());
        assert_eq!(directory.by_login("al").expect("alice").account.name, "alice@example.org");
    }

    #[test]
    fn names_are_given_once() {
        let clash = Directory::new(vec![user("a@b"), user("A@b")]).expect_err("the same name");
        assert_eq!(clash, Clash { user: 1, word: "name", value: "a@b".to_owned() });
        let mut second = user("c@d");
        second.account.aliases.push("a@B".to_owned());
        assert_eq!(Directory::new(vec![user("a@b"), second]).expect_err("a used alias").word, "alias");
    }

    #[test]
    fn standing_follows_rank_and_permission() {
        let helper =
            User { may_act_for: MayActFor::These(vec!["BOB@example.org".to_owned()]), ..user("helper@example.org") };
        let service = User { may_act_for: MayActFor::Everyone, ..user("service@example.org") };
        let users = vec![helper.clone(), service.clone(), user("alice@example.org"), user("bob@example.org")];
        let directory = Directory::new(users).expect("four users");
        let standing = |caller: &User, rank, name: &str| {
            directory.resolve(caller, rank, &AccountName::Address(name.to_owned())).standing
        };
        assert_eq!(standing(&helper, Rank::User, "helper@EXAMPLE.org"), Standing::Itself);
        assert_eq!(standing(&helper, Rank::User, "bob@example.org"), Standing::Permitted);
        assert_eq!(standing(&helper, Rank::User, "alice@example.org"), Standing::Forbidden);
        assert_eq!(standing(&helper, Rank::DelegatedAdministrator, "alice@example.org"), Standing::Forbidden);
        assert_eq!(standing(&helper, Rank::Administrator, "alice@example.org"), Standing::Permitted);
        assert_eq!(standing(&service, Rank::User, "alice@example.org"), Standing::Permitted);
        assert_eq!(standing(&service, Rank::User, "nobody@example.org"), Standing::Unknown);
    }

    #[test]
    fn accounts_are_found_by_every_kind_of_name_but_sid() {
        let mut alice = user("alice@example.org");
        alice.account.id = "4711".to_owned();
        alice.account.aliases.push("al@example.org".to_owned());
        let directory = Directory::new(vec![alice]).expect("one user");
        let found = |name: AccountName| directory.find(&name).is_some();
        assert!(found(AccountName::Id("4711".to_owned())));
        assert!(found(AccountName::Name("alice".to_owned())));
        assert!(found(AccountName::Address("AL@example.org".to_owned())));
        assert!(found(AccountName::PrincipalName("alice@example.org".to_owned())));
        assert!(!found(AccountName::Id("alice@example.org".to_owned())));
        assert!(!found(AccountName::Sid("S-1-5-21".to_owned())));
    }
}
