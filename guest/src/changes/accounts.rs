//! Changes of accounts, and which account a change is about.

use super::{Applied, Intake};
use crate::contract::Account;
use crate::mailboxes::{Condition, MailboxNo};
use crate::state::State;

impl Intake<'_> {
    /// The mailbox of this account; one of the tenant's domains that is not known is opened under its name.
    pub(super) fn mailbox(&mut self, account: &str) -> Result<MailboxNo, &'static str> {
        if let Some(number) = self.state.mailboxes.find(account) {
            return match self.state.mailboxes.get(number).condition {
                Condition::Closed => Err("the account is closed"),
                Condition::Open | Condition::Unavailable => Ok(number),
            };
        }
        self.open(Account { id: account.to_owned(), name: account.to_owned(), aliases: Vec::new() })
    }

    pub(super) fn account_opened(&mut self, account: &str, opened: Account) -> Applied {
        let known = self.state.mailboxes.find_account(&opened).or_else(|| self.state.mailboxes.find(account));
        let Some(number) = known else {
            return self.open(opened).map(drop);
        };
        self.id_is_free(number, &opened)?;
        self.state.mailboxes.rename(number, &opened);
        self.state.mailboxes.get_mut(number).condition = Condition::Open;
        Ok(())
    }

    /// Whether this mailbox may have the account's id.
    pub(super) fn id_is_free(&self, number: MailboxNo, account: &Account) -> Applied {
        match self.state.mailboxes.find_id(&account.id) {
            Some(holder) if holder != number => Err("the id is another account's"),
            _ => Ok(()),
        }
    }

    /// Nothing more happens in this mailbox: who subscribed to it is told that the subscription is gone, and who
    /// logged in is logged out.
    pub(super) fn account_closed(&mut self, mailbox: MailboxNo) {
        self.fresh.remove(&mailbox);
        for number in self.state.subscriptions.of_mailbox(mailbox) {
            self.state.end_subscription(number);
        }
        let State { mailboxes, sessions, settings, events, .. } = &mut *self.state;
        events.remove_all(mailbox);
        sessions.close(mailboxes.get(mailbox).id(), settings);
        mailboxes.close(mailbox, self.at);
    }

    /// Who may look into this mailbox has changed for `who` (empty: for all others): what they subscribed to in it
    /// ends, and a new subscription is judged anew.
    pub(super) fn access_changed(&mut self, mailbox: MailboxNo, who: &str) {
        let theirs = self.state.mailboxes.find(who).map(|number| self.state.mailboxes.get(number).id().to_owned());
        for number in self.state.subscriptions.of_mailbox(mailbox) {
            let Some(subscription) = self.state.subscriptions.get(number) else {
                continue;
            };
            let owner = &subscription.owner;
            let foreign = owner != self.state.mailboxes.get(mailbox).id();
            if foreign && (who.is_empty() || owner == who || Some(owner) == theirs.as_ref()) {
                self.state.end_subscription(number);
            }
        }
    }

    fn open(&mut self, account: Account) -> Result<MailboxNo, &'static str> {
        let domain = account.name.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase());
        match domain {
            Some(domain) if self.state.settings.domains.contains(&domain) => match self.state.has_room_for_account() {
                true => Ok(self.state.mailboxes.open(account, self.at)),
                false => Err("the tenant has as many accounts as it may have"),
            },
            _ => Err("unknown account, and not of a domain of this tenant"),
        }
    }
}
