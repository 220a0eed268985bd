//! Logins: who a request's credential proves its caller to be, and what the plugin is told of that.

use std::sync::Arc;

use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::authenticator::{Attempt, Authenticator};
use super::basic::Basic;
use super::directory::{Directory, MayActFor, User};
use super::gate::{Gate, Refused};
use super::passwords::Passwords;
use super::preauth;
use super::proxies::Origin;
use super::tokens::{self, Tokens, Untaken};
use crate::clock::Clock;
use crate::contract::changes::Account;
use crate::contract::requests::{
    Access, AccountName, Credential, Denial, Grant, Password, Preauth, Rank, Resolution, Standing,
};

/// The logins of one tenant.
pub struct Logins {
    tenant: String,
    directory: Arc<Directory>,
    /// The domains whose accounts exist although the directory has them not; none: there are no others.
    unlisted: Vec<String>,
    preauth_key: Option<Zeroizing<String>>,
    gate: Arc<Gate>,
    authenticator: Arc<dyn Authenticator>,
    turns: Arc<Semaphore>,
    tokens: Arc<Tokens>,
    clock: Arc<dyn Clock>,
}

/// A login that was verified.
#[derive(Clone, Debug)]
pub struct Login {
    /// Whose it is.
    pub user: Arc<User>,
    /// What the caller may do: a login in the body has its user's rank only if it asks for an administrator's.
    pub rank: Rank,
    /// Names the login without being a secret.
    visit: String,
    /// The token that proved it, if one did.
    token: Option<tokens::Claims>,
    /// When a token for it must expire at the latest, in milliseconds since the Unix epoch.
    expires: u64,
}

/// The token that goes out in the place of a placeholder.
#[derive(Clone)]
pub struct Substitution {
    /// What the plugin writes.
    pub placeholder: String,
    /// What the client gets.
    pub token: Zeroizing<String>,
}

impl Logins {
    /// `preauth_key`: what trusted third parties share with the tenant; none: no preauth.
    ///
    /// # Errors
    ///
    /// The operating system gives no random bytes.
    pub fn new(
        tenant: &str,
        directory: Directory,
        preauth_key: Option<Zeroizing<String>>,
        gate: Arc<Gate>,
        clock: Arc<dyn Clock>,
    ) -> Result<Logins, getrandom::Error> {
        let directory = Arc::new(directory);
        let (authenticator, turns) = (Arc::new(Passwords::new(directory.clone())), gate.hashing());
        let (tenant, unlisted, tokens) = (tenant.to_owned(), Vec::new(), Arc::new(Tokens::new(clock.wall())?));
        Ok(Logins { tenant, directory, unlisted, preauth_key, gate, authenticator, turns, tokens, clock })
    }

    /// Passwords are verified by this, not by the directory. Whoever it lets in and the directory does not list is a user of
    /// the tenant's, if the name's domain is one of these; a name without one is of the first.
    pub fn verified_by(self, authenticator: Arc<dyn Authenticator>, domains: Vec<String>) -> Logins {
        let turns = Arc::new(Semaphore::new(authenticator.at_once()));
        Logins { authenticator, turns, unlisted: domains, ..self }
    }

    /// With the tokens of the logins in whose place these come. Those of accounts that are gone, or have another password
    /// now, stop to count.
    pub fn with_tokens_of(self, former: &Logins) -> Logins {
        for user in former.directory.users() {
            let id = &user.account.id;
            let is_same = self.directory.by_id(id).is_some_and(|now| now.password == user.password);
            if !is_same {
                former.tokens.revoke_all_of(Some(id), self.clock.wall());
            }
        }
        Logins { tokens: former.tokens.clone(), ..self }
    }

    /// Verifies the login of a header.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub async fn basic(&self, basic: &Basic, origin: Origin) -> Result<Login, Refused> {
        let user = self.password(&basic.login, &basic.secret, origin).await?;
        let (rank, visit) = (user.rank, format!("basic:{}", user.account.id));
        Ok(Login { user, rank, visit, token: None, expires: u64::MAX })
    }

    /// Verifies the credential that the plugin found in a request.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub async fn credential(&self, credential: &Credential, origin: Origin) -> Result<Login, Denial> {
        match credential {
            Credential::Password(Password { login, secret, administrator }) => {
                let user = self.password(login, secret, origin).await.map_err(|refused| refused.denial)?;
                login_of(user, *administrator, u64::MAX)
            }
            Credential::Token(token) => self.token(token),
            Credential::Preauth(preauth) => self.preauth(preauth),
        }
    }

    async fn password(&self, login: &str, secret: &str, origin: Origin) -> Result<Arc<User>, Refused> {
        let attempt = Attempt { login, secret, address: origin.address, secure: origin.secure };
        let name = self.gate.verify(&self.tenant, attempt, (&*self.authenticator, &self.turns)).await?;
        let user = self.directory.by_login(&name).cloned().or_else(|| self.unlisted(&name));
        Ok(user.ok_or(Denial::UnknownLogin)?)
    }

    fn token(&self, token: &str) -> Result<Login, Denial> {
        let claims = self.tokens.verify(token, self.clock.wall()).map_err(|untaken| match untaken {
            Untaken::Unknown => Denial::UnknownToken,
            Untaken::Expired => Denial::Expired,
        })?;
        let listed = self.directory.by_id(&claims.account).cloned();
        let user = listed.or_else(|| self.unlisted(&claims.account)).ok_or(Denial::UnknownToken)?;
        let rank = if claims.administrator { user.rank } else { Rank::User };
        Ok(Login { user, rank, visit: claims.visit.clone(), expires: claims.expires, token: Some(claims) })
    }

    fn preauth(&self, preauth: &Preauth) -> Result<Login, Denial> {
        let key = self.preauth_key.as_ref().ok_or(Denial::NotPermitted)?;
        if !preauth::verify(key, preauth) {
            return Err(Denial::WrongSecret);
        }
        let now = self.clock.wall();
        if !preauth::is_fresh(preauth, now) || (preauth.expires != 0 && preauth.expires <= now) {
            return Err(Denial::Expired);
        }
        let user = self.find(&preauth.account).ok_or(Denial::UnknownLogin)?;
        let expires = if preauth.expires == 0 { u64::MAX } else { preauth.expires };
        login_of(user, preauth.administrator, expires)
    }

    /// What the plugin is told of a login, and, if it asked for a token, what to put in its place while sending.
    ///
    /// # Errors
    ///
    /// The operating system gives no random bytes.
    pub fn grant(&self, login: &Login, wants_token: bool) -> Result<(Access, Option<Substitution>), getrandom::Error> {
        let now = self.clock.wall();
        let claims = login.token.clone().unwrap_or_else(|| login.claims(now));
        let substitution = wants_token.then(|| self.substitution(&claims)).transpose()?;
        let carries_token = wants_token || login.token.is_some();
        let access = Access::Granted(Grant {
            account: login.user.account.clone(),
            rank: login.rank,
            visit: login.visit.clone(),
            token_placeholder: substitution.as_ref().map(|substitution| substitution.placeholder.clone()),
            token_lifetime_ms: if carries_token { claims.expires.saturating_sub(now) } else { 0 },
        });
        Ok((access, substitution))
    }

    fn substitution(&self, claims: &tokens::Claims) -> Result<Substitution, getrandom::Error> {
        let placeholder = format!("postbelltoken{}", tokens::random_name()?);
        Ok(Substitution { placeholder, token: Zeroizing::new(self.tokens.issue(claims)) })
    }

    /// How the caller stands to an account that its request names. Who is not logged in learns nothing.
    pub fn resolve(&self, login: Option<&Login>, name: &AccountName) -> Resolution {
        match login {
            Some(login) => self.resolve_for(login, name),
            None => Resolution { account: None, standing: Standing::Unknown },
        }
    }

    fn resolve_for(&self, login: &Login, name: &AccountName) -> Resolution {
        let unlisted = if self.directory.find(name).is_none() { self.find(name) } else { None };
        let Some(user) = unlisted else { return self.directory.resolve(&login.user, login.rank, name) };
        let itself = user.account.id == login.user.account.id;
        let for_all = login.rank == Rank::Administrator || login.user.may_act_for == MayActFor::Everyone;
        match (itself, for_all) {
            (true, _) => Resolution { account: Some(user.account.clone()), standing: Standing::Itself },
            (false, true) => Resolution { account: Some(user.account.clone()), standing: Standing::Permitted },
            // Whether it exists, only the authenticator knows.
            (false, false) => Resolution { account: None, standing: Standing::Unknown },
        }
    }

    /// The user that a request names, listed or not.
    fn find(&self, name: &AccountName) -> Option<Arc<User>> {
        self.directory.find(name).cloned().or_else(|| match name {
            AccountName::Id(name) | AccountName::Name(name) | AccountName::Address(name) => self.unlisted(name),
            AccountName::PrincipalName(name) => self.unlisted(name),
            AccountName::Sid(_) => None,
        })
    }

    /// A user whom the directory does not list.
    fn unlisted(&self, name: &str) -> Option<Arc<User>> {
        let first = self.unlisted.first()?;
        let name = if name.contains('@') { name.to_lowercase() } else { format!("{}@{first}", name.to_lowercase()) };
        let (local, domain) = name.rsplit_once('@')?;
        if local.is_empty() || name.contains(char::is_control) || !self.unlisted.iter().any(|own| own == domain) {
            return None;
        }
        let account = Account { id: name.clone(), name, aliases: Vec::new() };
        Some(Arc::new(User {
            account,
            login: None,
            password: None,
            rank: Rank::User,
            may_act_for: MayActFor::These(Vec::new()),
            display_name: String::new(),
        }))
    }

    /// Ends all logins of an account, or of every one: its tokens stop to count, and its password is asked for again.
    pub fn end(&self, account: Option<&str>) {
        let user = account.map(|account| self.find(&AccountName::Name(account.to_owned())));
        let id = user.as_ref().map(|user| user.as_ref().map_or(account.unwrap_or_default(), |user| &user.account.id));
        self.tokens.revoke_all_of(id, self.clock.wall());
        // What is remembered has the name that its authenticator gave, which may be short: all of the tenant's are few.
        self.gate.forget(&self.tenant, None);
    }

    /// Ends a login: the token that proved it stops to count.
    pub fn revoke(&self, login: &Login) {
        if let Some(claims) = &login.token {
            self.tokens.revoke(claims, self.clock.wall());
        }
    }
}

/// A login by something in the body.
fn login_of(user: Arc<User>, administrator: bool, expires: u64) -> Result<Login, Denial> {
    if administrator && user.rank == Rank::User {
        return Err(Denial::NotPermitted);
    }
    let rank = if administrator { user.rank } else { Rank::User };
    let visit = tokens::random_name().map_err(|_| Denial::Unavailable)?;
    Ok(Login { user, rank, visit, token: None, expires })
}

impl Login {
    /// What a new token for this login says.
    fn claims(&self, now: u64) -> tokens::Claims {
        let administrator = self.rank != Rank::User;
        let lifetime = if administrator { tokens::ADMINISTRATOR_LIFETIME_MS } else { tokens::LIFETIME_MS };
        tokens::Claims {
            account: self.user.account.id.clone(),
            visit: self.visit.clone(),
            administrator,
            issued: now,
            expires: self.expires.min(now.saturating_add(lifetime)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::directory::tests::user;
    use super::super::gate::tests::limits as gate_limits;
    use super::super::passwords::tests::cheap_hash;
    use super::*;
    use crate::clock::ManualClock;
    use hmac::{Hmac, KeyInit, Mac};
    use std::net::{IpAddr, Ipv4Addr};

    const ORIGIN: Origin = Origin { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), secure: true };
    const NOW: u64 = 1_795_296_510_624;
    const PREAUTH_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    fn logins() -> (Logins, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(NOW));
        let password = Some(cheap_hash("postbell"));
        let users = vec![
            User { password: password.clone(), ..user("alice@example.org") },
            User { password, rank: Rank::Administrator, ..user("admin@example.org") },
            user("nobody@example.org"),
        ];
        let gate = Gate::new(gate_limits(), Arc::default(), clock.clone()).expect("random bytes");
        let directory = Directory::new(users).expect("three users");
        let key = Some(Zeroizing::new(PREAUTH_KEY.to_owned()));
        (Logins::new("t", directory, key, Arc::new(gate), clock.clone()).expect("random bytes"), clock)
    }

    fn basic(login: &str, secret: &str) -> Basic {
        Basic { login: login.to_owned(), secret: Zeroizing::new(secret.to_owned()) }
    }

    fn password(login: &str, secret: &str, administrator: bool) -> Credential {
        Credential::Password(Password { login: login.to_owned(), secret: secret.to_owned(), administrator })
    }

    fn granted(access: Access) -> Grant {
        match access {
            Access::Granted(grant) => grant,
            Access::Denied(denial) => panic!("denied: {denial:?}"),
        }
    }

    #[tokio::test]
    async fn a_password_proves_its_user() {
        let (logins, _) = logins();
        for login in ["alice", "alice@example.org", "ALICE@example.org"] {
            let login = logins.basic(&basic(login, "postbell"), ORIGIN).await.expect("the right password");
            assert_eq!(login.user.account.name, "alice@example.org");
        }
        assert_eq!(
            logins.basic(&basic("alice", "Postbell"), ORIGIN).await.expect_err("wrong"),
            Denial::WrongSecret.into()
        );
        assert_eq!(
            logins.basic(&basic("carol", "postbell"), ORIGIN).await.expect_err("unknown"),
            Denial::UnknownLogin.into()
        );
        assert_eq!(
            logins.basic(&basic("nobody", "postbell"), ORIGIN).await.expect_err("no hash"),
            Denial::UnknownLogin.into()
        );
        assert_eq!(logins.basic(&basic("", ""), ORIGIN).await.expect_err("empty"), Denial::UnknownLogin.into());
    }

    #[tokio::test]
    async fn a_header_login_has_its_rank_and_the_same_visit_each_time() {
        let (logins, _) = logins();
        let login = logins.basic(&basic("admin", "postbell"), ORIGIN).await.expect("the right password");
        let grant = granted(logins.grant(&login, false).expect("random bytes").0);
        assert_eq!((grant.rank, grant.token_placeholder, grant.token_lifetime_ms), (Rank::Administrator, None, 0));
        let again = logins.basic(&basic("admin@example.org", "postbell"), ORIGIN).await.expect("the right password");
        assert_eq!(granted(logins.grant(&again, false).expect("random bytes").0).visit, grant.visit);
    }

    #[tokio::test]
    async fn a_token_stands_for_its_login_until_it_is_revoked() {
        let (logins, clock) = logins();
        let login = logins.credential(&password("alice", "postbell", false), ORIGIN).await.expect("the right password");
        let (access, substitution) = logins.grant(&login, true).expect("random bytes");
        let (grant, substitution) = (granted(access), substitution.expect("a token was wanted"));
        assert_eq!(grant.token_placeholder.as_ref(), Some(&substitution.placeholder));
        assert_eq!(grant.token_lifetime_ms, tokens::LIFETIME_MS);

        clock.advance(1000);
        let token = Credential::Token(substitution.token.to_string());
        let login = logins.credential(&token, ORIGIN).await.expect("a good token");
        let later = granted(logins.grant(&login, false).expect("random bytes").0);
        assert_eq!((later.visit, later.account), (grant.visit, grant.account));
        assert_eq!(later.token_lifetime_ms, tokens::LIFETIME_MS - 1000);

        logins.revoke(&login);
        assert_eq!(logins.credential(&token, ORIGIN).await.expect_err("revoked"), Denial::Expired);
        let placeholder = Credential::Token(substitution.placeholder);
        assert_eq!(logins.credential(&placeholder, ORIGIN).await.expect_err("no token"), Denial::UnknownToken);
    }

    #[tokio::test]
    async fn who_asks_for_an_administrators_login_must_be_one() {
        let (logins, _) = logins();
        let denied =
            logins.credential(&password("alice", "postbell", true), ORIGIN).await.expect_err("no administrator");
        assert_eq!(denied, Denial::NotPermitted);
        let login = logins.credential(&password("admin", "postbell", true), ORIGIN).await.expect("an administrator");
        assert_eq!(login.rank, Rank::Administrator);
        assert_eq!(
            granted(logins.grant(&login, true).expect("random").0).token_lifetime_ms,
            tokens::ADMINISTRATOR_LIFETIME_MS
        );
        let login = logins.credential(&password("admin", "postbell", false), ORIGIN).await.expect("a user as well");
        assert_eq!(login.rank, Rank::User);
    }

    fn vouched(account: &str, expires: u64, timestamp: u64) -> Credential {
        let mut mac = Hmac::<sha1::Sha1>::new_from_slice(PREAUTH_KEY.as_bytes()).expect("any length");
        mac.update(format!("{account}|name|{expires}|{timestamp}").as_bytes());
        let digest = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let account = AccountName::Name(account.to_owned());
        Credential::Preauth(Preauth { account, timestamp, expires, digest, administrator: false })
    }

    #[tokio::test]
    async fn preauth_logs_in_within_its_time() {
        let (logins, _) = logins();
        let login = logins.credential(&vouched("nobody@example.org", 0, NOW), ORIGIN).await.expect("vouched for");
        assert_eq!(login.user.account.name, "nobody@example.org");
        let login = logins
            .credential(&vouched("alice@example.org", NOW + 5000, NOW - 1000), ORIGIN)
            .await
            .expect("vouched for");
        assert_eq!(granted(logins.grant(&login, true).expect("random bytes").0).token_lifetime_ms, 5000);
        for (credential, denial) in [
            (vouched("alice@example.org", 0, NOW - preauth::TOLERANCE_MS - 1), Denial::Expired),
            (vouched("alice@example.org", NOW, NOW), Denial::Expired),
            (vouched("zoe@example.org", 0, NOW), Denial::UnknownLogin),
        ] {
            assert_eq!(logins.credential(&credential, ORIGIN).await.expect_err("refused"), denial);
        }
    }

    #[tokio::test]
    async fn who_is_not_logged_in_learns_nothing_of_accounts() {
        let (logins, _) = logins();
        for name in ["alice@example.org", "zoe@example.org"] {
            let resolution = logins.resolve(None, &AccountName::Address(name.to_owned()));
            assert_eq!((resolution.account, resolution.standing), (None, Standing::Unknown));
        }
        let login = logins.basic(&basic("alice", "postbell"), ORIGIN).await.expect("the right password");
        let resolution = logins.resolve(Some(&login), &AccountName::Name("alice".to_owned()));
        assert_eq!(resolution.standing, Standing::Itself);
    }
}
