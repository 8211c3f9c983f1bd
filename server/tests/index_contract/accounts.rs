//! Users, tokens and failed proofs.

use heirloom_protocol::message::Scope;
use heirloom_protocol::possession::UserId;
use heirloom_server::index::{IndexError, NewDevice, TokenOwner, UserState};

use super::{TestIndex, device, two_users};

pub(super) async fn a_name_is_taken_once(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    assert_ne!(anna, ben);
    assert!(anna.0 > 0 && ben.0 > 0);
    assert!(
        matches!(index.add_user("anna").await, Err(IndexError::NameTaken(name)) if name == "anna")
    );
    assert_eq!(index.user_named("anna").await.unwrap(), Some(anna));
    assert_eq!(index.user_named("carl").await.unwrap(), None);
}

pub(super) async fn a_token_is_found_by_its_hash_only(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    let of_anna = index.add_device(anna, device([1; 32])).await.unwrap();
    let second = index.add_device(anna, device([2; 32])).await.unwrap();
    let of_ben = index.add_device(ben, device([3; 32])).await.unwrap();
    assert_eq!(
        index.add_device(anna, device([1; 32])).await.unwrap(),
        of_anna,
        "the same token again"
    );
    assert!(of_anna != second && second != of_ben && of_anna != of_ben);
    let owner = TokenOwner {
        token: second,
        user: anna,
        name: "anna".to_owned(),
        scope: Scope::Full,
        quota: None,
    };
    assert_eq!(index.token_owner([2; 32]).await.unwrap(), Some(owner));
    assert_eq!(index.token_owner([3; 32]).await.unwrap().unwrap().user, ben);
    assert_eq!(index.token_owner([4; 32]).await.unwrap(), None);
}

pub(super) async fn a_token_needs_a_user(fixture: &TestIndex) {
    let index = fixture.open().await;
    let nobody = UserId(7);
    assert!(
        matches!(index.add_device(nobody, device([1; 32])).await, Err(IndexError::NoSuchUser(user)) if user == nobody)
    );
    assert_eq!(index.token_owner([1; 32]).await.unwrap(), None);
}

pub(super) async fn failed_proofs_are_counted_by_user_and_day(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    assert_eq!(index.proof_failures(anna, 20_000).await.unwrap(), 0);
    for expected in 1..=3 {
        index.count_proof_failure(anna, 20_000).await.unwrap();
        assert_eq!(index.proof_failures(anna, 20_000).await.unwrap(), expected);
    }
    assert_eq!(index.proof_failures(ben, 20_000).await.unwrap(), 0);
    assert_eq!(index.proof_failures(anna, 20_001).await.unwrap(), 0);
    index.count_proof_failure(anna, 20_001).await.unwrap();
    assert_eq!(index.proof_failures(anna, 20_001).await.unwrap(), 1);
    assert_eq!(
        index.proof_failures(anna, 20_000).await.unwrap(),
        0,
        "the count of yesterday is deleted"
    );
}

pub(super) async fn a_device_has_a_name_of_its_own_and_a_scope(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    let phone = |hash: u8, scope| NewDevice {
        token_hash: [hash; 32],
        name: Some("phone".to_owned()),
        scope,
    };
    index
        .add_device(anna, phone(1, Scope::AppendOnly))
        .await
        .unwrap();
    let again = index.add_device(anna, phone(2, Scope::Full)).await;
    assert!(matches!(again, Err(IndexError::NameTaken(name)) if name == "phone"));
    index
        .add_device(ben, phone(3, Scope::ReadOnly))
        .await
        .unwrap();
    index.add_device(anna, device([4; 32])).await.unwrap();
    assert_eq!(
        index.token_owner([1; 32]).await.unwrap().unwrap().scope,
        Scope::AppendOnly
    );
    assert_eq!(
        index.token_owner([3; 32]).await.unwrap().unwrap().scope,
        Scope::ReadOnly
    );
    let devices = index.devices(anna).await.unwrap();
    assert_eq!(devices.len(), 2);
    let phone = devices
        .iter()
        .find(|device| device.name == "phone")
        .unwrap();
    assert_eq!(phone.scope, Scope::AppendOnly);
}

pub(super) async fn a_revoked_device_has_no_owner(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    for (user, hash) in [(anna, [1; 32]), (ben, [2; 32])] {
        let phone = NewDevice {
            token_hash: hash,
            name: Some("phone".to_owned()),
            scope: Scope::Full,
        };
        index.add_device(user, phone).await.unwrap();
    }
    assert!(index.revoke_device(anna, "phone").await.unwrap());
    assert!(
        !index.revoke_device(anna, "phone").await.unwrap(),
        "it is gone"
    );
    assert_eq!(index.token_owner([1; 32]).await.unwrap(), None);
    assert!(
        index.token_owner([2; 32]).await.unwrap().is_some(),
        "another user's device of the same name"
    );
}

pub(super) async fn the_tokens_of_a_disabled_user_are_invalid_until_enabled(fixture: &TestIndex) {
    let (index, anna, ben) = two_users(fixture).await;
    index.add_device(anna, device([1; 32])).await.unwrap();
    index.add_device(ben, device([2; 32])).await.unwrap();
    index
        .set_user_state(anna, UserState::Disabled)
        .await
        .unwrap();
    assert_eq!(index.token_owner([1; 32]).await.unwrap(), None);
    assert!(index.token_owner([2; 32]).await.unwrap().is_some());
    let listed = index.users().await.unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|user| (user.name.as_str(), user.state, user.devices))
        .collect();
    assert_eq!(
        listed,
        [
            ("anna", UserState::Disabled, 1),
            ("ben", UserState::Active, 1)
        ]
    );
    index.set_user_state(anna, UserState::Active).await.unwrap();
    assert_eq!(
        index.token_owner([1; 32]).await.unwrap().unwrap().user,
        anna
    );
    let nobody = index.set_user_state(UserId(7), UserState::Disabled).await;
    assert!(matches!(nobody, Err(IndexError::NoSuchUser(UserId(7)))));
}
