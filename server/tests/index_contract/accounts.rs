//! Users, tokens and failed proofs.

use heirloom_protocol::possession::UserId;
use heirloom_server::index::{IndexError, TokenOwner};

use super::{Place, two_users};

pub(super) async fn a_name_is_taken_once(place: &Place) {
    let (index, anna, ben) = two_users(place).await;
    assert_ne!(anna, ben);
    assert!(anna.0 > 0 && ben.0 > 0);
    assert!(matches!(index.add_user("anna").await, Err(IndexError::NameTaken(name)) if name == "anna"));
    assert_eq!(index.user_named("anna").await.unwrap(), Some(anna));
    assert_eq!(index.user_named("carl").await.unwrap(), None);
}

pub(super) async fn a_token_is_known_by_its_hash_alone(place: &Place) {
    let (index, anna, ben) = two_users(place).await;
    let of_anna = index.add_token(anna, [1; 32]).await.unwrap();
    let second = index.add_token(anna, [2; 32]).await.unwrap();
    let of_ben = index.add_token(ben, [3; 32]).await.unwrap();
    assert_eq!(index.add_token(anna, [1; 32]).await.unwrap(), of_anna, "the same token again");
    assert!(of_anna != second && second != of_ben && of_anna != of_ben);
    let owner = TokenOwner { token: second, user: anna, name: "anna".to_owned() };
    assert_eq!(index.token_owner([2; 32]).await.unwrap(), Some(owner));
    assert_eq!(index.token_owner([3; 32]).await.unwrap().unwrap().user, ben);
    assert_eq!(index.token_owner([4; 32]).await.unwrap(), None);
}

pub(super) async fn a_token_needs_a_user(place: &Place) {
    let index = place.open().await;
    let nobody = UserId(7);
    assert!(matches!(index.add_token(nobody, [1; 32]).await, Err(IndexError::NoSuchUser(user)) if user == nobody));
    assert_eq!(index.token_owner([1; 32]).await.unwrap(), None);
}

pub(super) async fn failed_proofs_are_counted_by_user_and_day(place: &Place) {
    let (index, anna, ben) = two_users(place).await;
    assert_eq!(index.proof_failures(anna, 20_000).await.unwrap(), 0);
    for expected in 1..=3 {
        index.count_proof_failure(anna, 20_000).await.unwrap();
        assert_eq!(index.proof_failures(anna, 20_000).await.unwrap(), expected);
    }
    assert_eq!(index.proof_failures(ben, 20_000).await.unwrap(), 0);
    assert_eq!(index.proof_failures(anna, 20_001).await.unwrap(), 0);
    index.count_proof_failure(anna, 20_001).await.unwrap();
    assert_eq!(index.proof_failures(anna, 20_001).await.unwrap(), 1);
    assert_eq!(index.proof_failures(anna, 20_000).await.unwrap(), 0, "yesterday is forgotten");
}
