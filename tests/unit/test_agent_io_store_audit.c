/* The store's audit is a tree: what was changed is found, what is in it can be proved. */
#include "tests/unit/store_fixture.h"

#include "proto/hash.h"

static void listed(void *arg, const struct err *err, const struct store_audit_entry *e, size_t n)
{
    assert_null(err);
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(e[i].seq, 5 + i);
        uint8_t hash[HASH_SIZE];
        merkle_leaf(e[i].record, strlen(e[i].record), hash);
        assert_memory_equal(hash, e[i].hash, HASH_SIZE);
    }
    assert_string_equal(e[0].record, "{\"n\":2}");
    *(bool *)arg = true;
}

static void test_audit_is_a_tree(void **state)
{
    struct world *w = *state;
    open_store(w);
    write_audit(w, 10);
    bool seen = false;
    struct err err = {0};
    assert_ok(store_audit_list(w->store, 5, 3, listed, &seen, &err), &err);
    settle(w);
    assert_true(seen);
    struct audit_verdict v;
    assert_ok(audit_verify(w->path, NULL, 0, &v, &err), &err); /* while it is in use */
    uint64_t seq;
    uint8_t head[HASH_SIZE];
    store_audit_head(w->store, &seq, head);
    assert_int_equal(seq, 20);
    assert_int_equal(v.entries, 20);
    assert_memory_equal(v.root, head, HASH_SIZE);
    close_store(w);
    open_store(w);
    write_audit(w, 1); /* goes on where it ended */
    assert_ok(audit_verify(w->path, NULL, 0, &v, &err), &err);
    assert_int_equal(v.entries, 22);
}

static void expect_broken(struct world *w, const char *sql, uint64_t seq, const char *how)
{
    tamper(w, "CREATE TABLE keep AS SELECT * FROM audit;"
              "CREATE TABLE keep_node AS SELECT * FROM audit_node");
    tamper(w, sql);
    struct audit_verdict v;
    struct err err = {0};
    assert_err(audit_verify(w->path, NULL, 0, &v, &err), &err, ERR_CONFLICT, how);
    assert_int_equal(v.broken_seq, seq);
    assert_int_equal(v.entries, seq - 1);
    tamper(w, "DELETE FROM audit; INSERT INTO audit SELECT * FROM keep; DROP TABLE keep;"
              "DELETE FROM audit_node; INSERT INTO audit_node SELECT * FROM keep_node;"
              "DROP TABLE keep_node");
}

static void test_tampering_is_found(void **state)
{
    struct world *w = *state;
    open_store(w);
    write_audit(w, 10);
    close_store(w);
    expect_broken(w, "UPDATE audit SET record = '{\"n\":9}' WHERE seq = 7", 7, "was changed");
    expect_broken(w,
                  "UPDATE audit SET seq = -1 WHERE seq = 5; UPDATE audit SET seq = 5 WHERE seq"
                  " = 6; UPDATE audit SET seq = 6 WHERE seq = -1",
                  6, "completes a node");
    expect_broken(w, "UPDATE audit_node SET hash = zeroblob(32) WHERE level = 1 AND idx = 3", 8,
                  "completes a node");
    expect_broken(w, "DELETE FROM audit WHERE seq = 3", 3, "is missing");
    expect_broken(w, "DELETE FROM audit WHERE seq = 1", 1, "is missing");
    expect_broken(w, "UPDATE audit SET hash = zeroblob(32) WHERE seq = 4", 4, "was changed");
    expect_broken(w, "UPDATE audit SET record = record || char(0) WHERE seq = 2", 2, "damaged");
    struct audit_verdict v;
    struct err err = {0};
    assert_ok(audit_verify(w->path, NULL, 0, &v, &err), &err);
    assert_err(audit_verify("/nonexistent/skein.db", NULL, 0, &v, &err), &err, ERR_IO,
               "/nonexistent");
}

/* Whoever rewrites the whole file cannot rewrite what was signed before. */
static void test_what_was_signed_binds(void **state)
{
    struct world *w = *state;
    struct audit_expect expect[2] = {{.who = "this host signed"}, {.who = "hv2 cosigned"}};
    struct audit_verdict v;
    struct err err = {0};
    open_store(w);
    write_audit(w, 3);
    store_audit_head(w->store, &expect[0].size, expect[0].root);
    write_audit(w, 2);
    store_audit_head(w->store, &expect[1].size, expect[1].root);
    write_audit(w, 1);
    assert_ok(audit_verify(w->path, expect, 2, &v, &err), &err);
    assert_int_equal(v.entries, 12);
    close_store(w);
    tamper(w, "DELETE FROM audit WHERE seq > 8; DELETE FROM audit_node");
    open_store(w); /* makes the nodes anew: in itself the log is sound */
    assert_ok(audit_verify(w->path, expect, 1, &v, &err), &err);
    assert_int_equal(v.entries, 8);
    assert_err(audit_verify(w->path, expect, 2, &v, &err), &err, ERR_CONFLICT, "hv2 cosigned");
    assert_int_equal(v.broken_seq, 9);
    expect[0].root[7] ^= 1;
    assert_err(audit_verify(w->path, expect, 2, &v, &err), &err, ERR_CONFLICT, "this host signed");
    assert_int_equal(v.broken_seq, 6);
}

struct proven {
    struct merkle_proof proof;
    struct err err;
};

static void proved(void *arg, const struct err *err, const struct merkle_proof *proof)
{
    struct proven *p = arg;
    p->err = err != NULL ? *err : (struct err){0};
    p->proof = *proof;
}

static void test_proofs(void **state)
{
    struct world *w = *state;
    struct proven p;
    struct err err = {0};
    uint8_t old[HASH_SIZE], root[HASH_SIZE], leaf[HASH_SIZE];
    uint64_t old_size, size;
    open_store(w);
    write_audit(w, 7);
    store_audit_head(w->store, &old_size, old);
    write_audit(w, 12);
    store_audit_head(w->store, &size, root);
    assert_ok(
        store_audit_proof(w->store, STORE_PROOF_CONSISTENCY, old_size, size, proved, &p, &err),
        &err);
    settle(w);
    assert_int_equal(p.err.code, ERR_OK);
    assert_true(merkle_continues(old_size, old, size, root, &p.proof));
    assert_ok(store_audit_proof(w->store, STORE_PROOF_INCLUSION, 4, size, proved, &p, &err), &err);
    settle(w);
    merkle_leaf("{\"n\":2}", 7, leaf);
    assert_true(merkle_includes(leaf, 4, size, &p.proof, root));
    assert_ok(store_audit_proof(w->store, STORE_PROOF_INCLUSION, 4, size + 1, proved, &p, &err),
              &err);
    settle(w);
    assert_int_equal(p.err.code, ERR_INVALID);
}

/* A database of the first schema: its chain's records become the tree's leaves. */
static void test_a_chain_becomes_a_tree(void **state)
{
    struct world *w = *state;
    struct audit_verdict v;
    struct err err = {0};
    open_store(w);
    write_audit(w, 5);
    close_store(w);
    assert_ok(audit_verify(w->path, NULL, 0, &v, &err), &err);
    tamper(w,
           "CREATE TABLE old(seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, prev BLOB NOT NULL,"
           " hash BLOB NOT NULL, record TEXT NOT NULL);"
           "INSERT INTO old SELECT seq, at_ms, zeroblob(32), hash, record FROM audit;"
           "DROP TABLE audit; DROP TABLE audit_node; ALTER TABLE old RENAME TO audit;"
           "PRAGMA user_version = 1");
    open_store(w);
    uint64_t size;
    uint8_t root[HASH_SIZE];
    store_audit_head(w->store, &size, root);
    assert_int_equal(size, 10);
    assert_memory_equal(root, v.root, HASH_SIZE);
    write_audit(w, 1);
    assert_ok(audit_verify(w->path, NULL, 0, &v, &err), &err);
    assert_int_equal(v.entries, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_audit_is_a_tree), T(test_tampering_is_found),     T(test_what_was_signed_binds),
        T(test_proofs),          T(test_a_chain_becomes_a_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
