use super::sql::{HOLE, prepared, statements};

#[test]
fn a_statement_with_parameters_and_holes_is_read() {
    let text = prepared(&[
        Some("insert into "),
        None,
        Some(" as known (id, status) values (%s, 'ready') on conflict (id) do update set status = 'ready', n = $2 "),
        None,
    ]);
    let said = statements(&text.unwrap());
    assert_eq!(said[0].table, HOLE);
    assert_eq!(said[0].texts, vec![("status".to_owned(), "ready".to_owned()); 2]);
}

#[test]
fn a_text_that_is_no_statement_is_left_alone() {
    assert_eq!(prepared(&[Some("update your password")]).map(|text| statements(&text).len()), Some(0));
    assert_eq!(prepared(&[Some("Documents are ready")]), None);
}
