//! Accounts over an index in a temporary directory: tokens, names and the cache of callers.

use super::*;
use crate::config::DataDir;

async fn accounts() -> (Accounts, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(&folder.path().join("data")).unwrap();
    (
        Accounts::new(Index::open(&data.index_url()).await.unwrap()),
        folder,
    )
}

#[tokio::test]
async fn a_token_authenticates_its_user() {
    let (accounts, _folder) = accounts().await;
    let of_anna = accounts.add_user("anna").await.unwrap();
    let of_ben = accounts.add_user("ben").await.unwrap();
    let second = accounts.add_token("anna").await.unwrap();
    let anna = accounts.authenticate(&of_anna).await.unwrap().unwrap();
    assert_eq!(anna.name, "anna");
    assert_eq!(
        accounts.authenticate(&of_anna).await.unwrap().as_ref(),
        Some(&anna),
        "from the cache"
    );
    let again = accounts.authenticate(&second).await.unwrap().unwrap();
    assert_eq!(again.user, anna.user);
    assert_ne!(again.token, anna.token);
    assert_ne!(
        accounts.authenticate(&of_ben).await.unwrap().unwrap().user,
        anna.user
    );
}

#[tokio::test]
async fn anything_but_a_token_authenticates_nobody() {
    let (accounts, _folder) = accounts().await;
    let token = accounts.add_user("anna").await.unwrap();
    let another = format!("hl_{}", "0".repeat(64));
    let upper = token.to_uppercase();
    for wrong in [
        "",
        "hl_",
        "anna",
        &token[1..],
        &token[..66],
        &format!("{token}0"),
        &another,
        &upper,
        "hl_é",
    ] {
        assert_eq!(
            accounts.authenticate(wrong).await.unwrap(),
            None,
            "{wrong:?}"
        );
    }
}

#[tokio::test]
async fn tokens_are_random_and_nowhere_in_the_index() {
    let (accounts, folder) = accounts().await;
    let first = accounts.add_user("anna").await.unwrap();
    let second = accounts.add_token("anna").await.unwrap();
    assert_ne!(first, second);
    accounts.index.close().await;
    let stored = std::fs::read(folder.path().join("data/index.sqlite")).unwrap();
    for token in [&first, &second] {
        let random = HEXLOWER.decode(&token.as_bytes()[3..]).unwrap();
        assert_eq!(random.len(), 32);
        for secret in [token.as_bytes(), &token.as_bytes()[3..], &random] {
            assert!(!stored.windows(secret.len()).any(|window| window == secret));
        }
        assert!(
            stored.windows(32).any(|window| window == hash(token)),
            "only its hash is"
        );
    }
}

#[tokio::test]
async fn names_are_checked_and_taken_once() {
    let (accounts, _folder) = accounts().await;
    for good in ["a", "anna.b_c-1", &"n".repeat(64)] {
        accounts.add_user(good).await.unwrap();
        assert!(matches!(
            accounts.add_user(good).await,
            Err(AccountError::NameTaken(_))
        ));
    }
    for bad in ["", "Anna", "anna b", "é", "a/b", "a\n", &"n".repeat(65)] {
        assert!(
            matches!(
                accounts.add_user(bad).await,
                Err(AccountError::InvalidUserName)
            ),
            "{bad:?}"
        );
    }
    assert!(matches!(
        accounts.add_token("carl").await,
        Err(AccountError::NoSuchUser(_))
    ));
}

#[tokio::test]
async fn a_caller_is_cached_for_a_short_time_only() {
    let (accounts, _folder) = accounts().await;
    let token = accounts.add_user("anna").await.unwrap();
    let hash = hash(&token);
    assert!(accounts.authenticate(&token).await.unwrap().is_some());
    assert!(accounts.cached(&hash).is_some());
    let long_ago = Instant::now().checked_sub(CALLER_CACHE_TTL).unwrap();
    accounts.callers.lock().get_mut(&hash).unwrap().since = long_ago;
    assert!(accounts.cached(&hash).is_none());
    assert!(
        accounts.authenticate(&token).await.unwrap().is_some(),
        "looked up again"
    );
    for number in 0..CALLERS_MAX as u64 {
        let mut other = [0; 32];
        other[..8].copy_from_slice(&number.to_be_bytes());
        let caller = accounts.callers.lock()[&hash].caller.clone();
        accounts.cache(other, caller);
        if accounts.callers.lock().len() == 1 {
            return;
        }
    }
    panic!("{} callers are cached", accounts.callers.lock().len());
}
