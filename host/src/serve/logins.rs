//! Logins: who a request's credential proves its caller to be, and what the plugin is told of that.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::basic::Basic;
use super::directory::{Directory, User};
use super::passwords::{Passwords, TooManyWait};
use super::preauth;
use super::tokens::{self, Tokens, Untaken};
use crate::clock::Clock;
use crate::contract::requests::{
    Access, AccountName, Credential, Denial, Grant, Password, Preauth, Rank, Resolution, Standing,
};

/// A hash that is no user's, of the usual cost: what unknown logins are verified against.
const NOBODYS_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The logins of one tenant.
pub struct Logins {
    directory: Directory,
    preauth_key: Option<Zeroizing<String>>,
    passwords: Arc<Passwords>,
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
        directory: Directory,
        preauth_key: Option<Zeroizing<String>>,
        passwords: Arc<Passwords>,
        clock: Arc<dyn Clock>,
    ) -> Result<Logins, getrandom::Error> {
        Ok(Logins { directory, preauth_key, passwords, tokens: Arc::new(Tokens::new()?), clock })
    }

    /// The same logins with other users and another key: tokens that were given stay good.
    pub fn changed(&self, directory: Directory, preauth_key: Option<Zeroizing<String>>) -> Logins {
        let (passwords, tokens, clock) = (self.passwords.clone(), self.tokens.clone(), self.clock.clone());
        Logins { directory, preauth_key, passwords, tokens, clock }
    }

    /// Verifies the login of a header.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub async fn basic(&self, basic: &Basic) -> Result<Login, Denial> {
        let user = self.password(&basic.login, &basic.secret).await?;
        let (rank, visit) = (user.rank, format!("basic:{}", user.account.id));
        Ok(Login { user, rank, visit, token: None, expires: u64::MAX })
    }

    /// Verifies the credential that the plugin found in a request.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub async fn credential(&self, credential: &Credential) -> Result<Login, Denial> {
        match credential {
            Credential::Password(Password { login, secret, administrator }) => {
                let user = self.password(login, secret).await?;
                login_of(user, *administrator, u64::MAX)
            }
            Credential::Token(token) => self.token(token),
            Credential::Preauth(preauth) => self.preauth(preauth),
        }
    }

    async fn password(&self, login: &str, secret: &str) -> Result<Arc<User>, Denial> {
        let throttled = |TooManyWait| Denial::Throttled;
        let Some((user, stored)) =
            self.directory.by_login(login).and_then(|user| Some((user, user.password.as_ref()?)))
        else {
            self.passwords.pretend(secret, self.some_hash()).await.map_err(throttled)?;
            return Err(Denial::UnknownLogin);
        };
        let right = self.passwords.verify(secret, stored).await.map_err(throttled)?;
        if right { Ok(user.clone()) } else { Err(Denial::WrongSecret) }
    }

    /// A hash as costly as those of this tenant.
    fn some_hash(&self) -> &str {
        self.directory.users().iter().find_map(|user| user.password.as_deref()).unwrap_or(NOBODYS_HASH)
    }

    fn token(&self, token: &str) -> Result<Login, Denial> {
        let claims = self.tokens.verify(token, self.clock.wall()).map_err(|untaken| match untaken {
            Untaken::Unknown => Denial::UnknownToken,
            Untaken::Expired => Denial::Expired,
        })?;
        let user = self.directory.by_id(&claims.account).ok_or(Denial::UnknownToken)?.clone();
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
        let user = self.directory.find(&preauth.account).ok_or(Denial::UnknownLogin)?.clone();
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
            Some(login) => self.directory.resolve(&login.user, login.rank, name),
            None => Resolution { account: None, standing: Standing::Unknown },
        }
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
    use super::super::passwords::tests::cheap_hash;
    use super::*;
    use crate::clock::ManualClock;
    use hmac::{Hmac, KeyInit, Mac};

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
        let passwords = Arc::new(Passwords::new(clock.clone(), 10).expect("random bytes"));
        let directory = Directory::new(users).expect("three users");
        let key = Some(Zeroizing::new(PREAUTH_KEY.to_owned()));
        (Logins::new(directory, key, passwords, clock.clone()).expect("random bytes"), clock)
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
            let login = logins.basic(&basic(login, "postbell")).await.expect("the right password");
            assert_eq!(login.user.account.name, "alice@example.org");
        }
        assert_eq!(logins.basic(&basic("alice", "Postbell")).await.expect_err("wrong"), Denial::WrongSecret);
        assert_eq!(logins.basic(&basic("carol", "postbell")).await.expect_err("unknown"), Denial::UnknownLogin);
        assert_eq!(logins.basic(&basic("nobody", "postbell")).await.expect_err("no hash"), Denial::UnknownLogin);
        assert_eq!(logins.basic(&basic("", "")).await.expect_err("empty"), Denial::UnknownLogin);
    }

    #[tokio::test]
    async fn a_header_login_has_its_rank_and_the_same_visit_each_time() {
        let (logins, _) = logins();
        let login = logins.basic(&basic("admin", "postbell")).await.expect("the right password");
        let grant = granted(logins.grant(&login, false).expect("random bytes").0);
        assert_eq!((grant.rank, grant.token_placeholder, grant.token_lifetime_ms), (Rank::Administrator, None, 0));
        let again = logins.basic(&basic("admin@example.org", "postbell")).await.expect("the right password");
        assert_eq!(granted(logins.grant(&again, false).expect("random bytes").0).visit, grant.visit);
    }

    #[tokio::test]
    async fn a_token_stands_for_its_login_until_it_is_revoked() {
        let (logins, clock) = logins();
        let login = logins.credential(&password("alice", "postbell", false)).await.expect("the right password");
        let (access, substitution) = logins.grant(&login, true).expect("random bytes");
        let (grant, substitution) = (granted(access), substitution.expect("a token was wanted"));
        assert_eq!(grant.token_placeholder.as_ref(), Some(&substitution.placeholder));
        assert_eq!(grant.token_lifetime_ms, tokens::LIFETIME_MS);

        clock.advance(1000);
        let token = Credential::Token(substitution.token.to_string());
        let login = logins.credential(&token).await.expect("a good token");
        let later = granted(logins.grant(&login, false).expect("random bytes").0);
        assert_eq!((later.visit, later.account), (grant.visit, grant.account));
        assert_eq!(later.token_lifetime_ms, tokens::LIFETIME_MS - 1000);

        logins.revoke(&login);
        assert_eq!(logins.credential(&token).await.expect_err("revoked"), Denial::Expired);
        let placeholder = Credential::Token(substitution.placeholder);
        assert_eq!(logins.credential(&placeholder).await.expect_err("no token"), Denial::UnknownToken);
    }

    #[tokio::test]
    async fn who_asks_for_an_administrators_login_must_be_one() {
        let (logins, _) = logins();
        let denied = logins.credential(&password("alice", "postbell", true)).await.expect_err("no administrator");
        assert_eq!(denied, Denial::NotPermitted);
        let login = logins.credential(&password("admin", "postbell", true)).await.expect("an administrator");
        assert_eq!(login.rank, Rank::Administrator);
        assert_eq!(
            granted(logins.grant(&login, true).expect("random").0).token_lifetime_ms,
            tokens::ADMINISTRATOR_LIFETIME_MS
        );
        let login = logins.credential(&password("admin", "postbell", false)).await.expect("a user as well");
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
        let login = logins.credential(&vouched("nobody@example.org", 0, NOW)).await.expect("vouched for");
        assert_eq!(login.user.account.name, "nobody@example.org");
        let login =
            logins.credential(&vouched("alice@example.org", NOW + 5000, NOW - 1000)).await.expect("vouched for");
        assert_eq!(granted(logins.grant(&login, true).expect("random bytes").0).token_lifetime_ms, 5000);
        for (credential, denial) in [
            (vouched("alice@example.org", 0, NOW - preauth::TOLERANCE_MS - 1), Denial::Expired),
            (vouched("alice@example.org", NOW, NOW), Denial::Expired),
            (vouched("zoe@example.org", 0, NOW), Denial::UnknownLogin),
        ] {
            assert_eq!(logins.credential(&credential).await.expect_err("refused"), denial);
        }
    }

    #[tokio::test]
    async fn who_is_not_logged_in_learns_nothing_of_accounts() {
        let (logins, _) = logins();
        for name in ["alice@example.org", "zoe@example.org"] {
            let resolution = logins.resolve(None, &AccountName::Address(name.to_owned()));
            assert_eq!((resolution.account, resolution.standing), (None, Standing::Unknown));
        }
        let login = logins.basic(&basic("alice", "postbell")).await.expect("the right password");
        let resolution = logins.resolve(Some(&login), &AccountName::Name("alice".to_owned()));
        assert_eq!(resolution.standing, Standing::Itself);
    }
}
