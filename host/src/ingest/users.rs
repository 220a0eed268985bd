//! Whose mailbox it is: users of a mail server as accounts.

use std::collections::BTreeMap;

/// How the users of a mail server are called here.
#[derive(Clone, Debug, Default)]
pub struct Users {
    pub(super) domains: Vec<String>,
    renamed: BTreeMap<String, String>,
}

impl Users {
    /// `renamed`: pairs of a user and its account, which come first; else a user without `@` gets the first of `domains`.
    pub fn new(domains: Vec<String>, renamed: impl IntoIterator<Item = (String, String)>) -> Users {
        Users { domains, renamed: renamed.into_iter().collect() }
    }

    /// The account of a user.
    pub(super) fn account(&self, user: &str) -> String {
        match (self.renamed.get(user), self.domains.first()) {
            (Some(account), _) => account.clone(),
            (None, Some(domain)) if !user.contains('@') => format!("{user}@{domain}"),
            _ => user.to_owned(),
        }
    }
}
