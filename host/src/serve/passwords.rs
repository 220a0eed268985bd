//! Passwords against their argon2id hashes, off the network threads.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use zeroize::Zeroizing;

use super::authenticator::{Attempt, Authenticator, Verified};
use super::directory::Directory;
use super::gate::processors;
use crate::contract::requests::Denial;

/// A hash that is no user's, of the usual cost: what unknown logins are verified against.
const NOBODYS_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Verifies passwords by the hashes of a directory.
#[derive(Debug)]
pub struct Passwords(Arc<Directory>);

impl Passwords {
    /// Of this directory's users.
    pub fn new(directory: Arc<Directory>) -> Passwords {
        Passwords(directory)
    }

    async fn check(&self, attempt: Attempt<'_>) -> Result<String, Denial> {
        let user = self.0.by_login(attempt.login);
        let Some((user, stored)) = user.and_then(|user| Some((user, user.password.as_ref()?))) else {
            matches(attempt.secret, self.some_hash()).await;
            return Err(Denial::UnknownLogin);
        };
        match matches(attempt.secret, stored).await {
            true => Ok(user.account.name.clone()),
            false => Err(Denial::WrongSecret),
        }
    }

    /// A hash as costly as those of this directory, so that the time does not tell whether a login exists.
    fn some_hash(&self) -> &str {
        self.0.users().iter().find_map(|user| user.password.as_deref()).unwrap_or(NOBODYS_HASH)
    }
}

impl Authenticator for Passwords {
    fn at_once(&self) -> usize {
        processors()
    }

    fn verify<'a>(&'a self, attempt: Attempt<'a>) -> Verified<'a> {
        Box::pin(self.check(attempt))
    }

    fn version(&self, login: &str) -> Option<&str> {
        self.0.by_login(login)?.password.as_deref()
    }
}

async fn matches(secret: &str, stored: &str) -> bool {
    let (secret, stored) = (Zeroizing::new(secret.to_owned()), stored.to_owned());
    let hashing = tokio::task::spawn_blocking(move || {
        PasswordHash::new(&stored).is_ok_and(|hash| Argon2::default().verify_password(secret.as_bytes(), &hash).is_ok())
    });
    // Fails only when the runtime stops.
    hashing.await.unwrap_or(false)
}

/// The argon2id hash of a password as a PHC string, with a fresh salt and the recommended cost (19 MiB, 2 passes).
///
/// # Errors
///
/// The operating system gives no random bytes, or the password is longer than argon2 takes.
pub fn hash(secret: &str) -> Result<String, argon2::password_hash::Error> {
    let hash: PasswordHash = Argon2::default().hash_password(secret.as_bytes())?;
    Ok(hash.to_string())
}

/// Whether a text is an argon2id hash that a password can be verified against.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_hash(stored: &str) -> Result<(), String> {
    let hash = PasswordHash::new(stored).map_err(|error| error.to_string())?;
    if hash.algorithm.as_str() != "argon2id" {
        return Err(format!("the algorithm is {}", hash.algorithm));
    }
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err("it has no salt or no hash".to_owned());
    }
    argon2::Params::try_from(&hash).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A real argon2id hash at the lowest cost.
    pub(crate) fn cheap_hash(secret: &str) -> String {
        let params = argon2::Params::new(8, 1, 1, None).expect("the lowest cost");
        let hash: PasswordHash = Argon2::from(params).hash_password(secret.as_bytes()).expect("hashed");
        hash.to_string()
    }

    #[tokio::test]
    async fn only_the_password_matches() {
        let stored = cheap_hash("secret");
        for (secret, expected) in [("secret", true), ("Secret", false), ("", false)] {
            assert_eq!(matches(secret, &stored).await, expected, "{secret}");
        }
        assert!(!matches("secret", "no hash").await);
    }

    #[test]
    fn hashes_are_checked() {
        check_hash(&cheap_hash("x")).expect("a good hash");
        for (stored, why) in [
            ("secret", ""),
            ("$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$KtODlA7z5tNpnMwxZQYZTA", "argon2i"),
            ("$argon2id$v=19$m=8,t=1,p=1", "no salt"),
            ("$argon2id$v=19$m=8,t=0,p=1$c29tZXNhbHQ$KtODlA7z5tNpnMwxZQYZTA", ""),
        ] {
            let error = check_hash(stored).expect_err(stored);
            assert!(error.contains(why), "{stored}: {error}");
        }
    }
}
