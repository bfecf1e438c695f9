"""Which tables an SQL statement writes."""

from __future__ import annotations

import pytest

from kinesis_bridge.capture.statements import writes

EVERYWHERE = ["postgresql", "mysql", "sqlite"]


def told(sql, vendor="postgresql"):
    return [tuple(write) for write in writes(sql, vendor)]


@pytest.mark.parametrize("vendor", EVERYWHERE)
@pytest.mark.parametrize(
    ("sql", "verb"),
    [
        ("INSERT INTO shop_order (id) VALUES (%s)", "INSERT"),
        ("insert into shop_order select 1", "INSERT"),
        ("UPDATE shop_order SET total = %s", "UPDATE"),
        ("UPDATE shop_order AS o SET total = (SELECT 1)", "UPDATE"),
        ("DELETE FROM shop_order WHERE id = 1", "DELETE"),
        ("DELETE FROM shop_order", "DELETE"),
        ("\n  -- why\n/* and\nhow */ UPDATE shop_order SET total = 1", "UPDATE"),
        ("UPDATE /* DELETE FROM other */ shop_order SET total = 1", "UPDATE"),
        ("UPDATE shop_order SET note = 'x; DELETE FROM other' WHERE id = 1", "UPDATE"),
        ("UPDATE shop_order SET note = 'it''s; DELETE FROM other'", "UPDATE"),
        ("UPDATE shop.shop_order SET total = 1", "UPDATE"),
        ("WITH old AS (SELECT 1) UPDATE shop_order SET total = 1", "UPDATE"),
        ("WITH a AS (SELECT 1), b AS (SELECT (2)) DELETE FROM shop_order", "DELETE"),
        ("WITH a(x) AS (SELECT 1) INSERT INTO shop_order SELECT x FROM a", "INSERT"),
        ("SELECT 1; UPDATE shop_order SET total = 1; COMMIT", "UPDATE"),
    ],
)
def test_one_table(vendor, sql, verb):
    assert told(sql, vendor) == [(verb, "shop_order")]


@pytest.mark.parametrize(
    ("vendor", "sql", "verb"),
    [
        ("postgresql", 'UPDATE ONLY "shop"."shop_order" * SET total = 1', "UPDATE"),
        ("postgresql", 'DELETE FROM ONLY "shop_order" USING other', "DELETE"),
        ("postgresql", "MERGE INTO shop_order USING other ON true WHEN MATCHED THEN UPDATE SET x=1",
         "MERGE"),
        ("postgresql", "TRUNCATE shop_order RESTART IDENTITY CASCADE", "TRUNCATE"),
        ("postgresql", "COPY shop_order (id, total) FROM STDIN", "COPY"),
        ("postgresql", "WITH gone AS (DELETE FROM shop_order RETURNING *) SELECT * FROM gone",
         "DELETE"),
        ("postgresql", "WITH x AS MATERIALIZED (INSERT INTO shop_order SELECT 1) SELECT 1",
         "INSERT"),
        ("postgresql", "UPDATE shop_order SET note = E'\\'; DELETE FROM other'", "UPDATE"),
        ("postgresql", "UPDATE shop_order SET note = $x$'; DELETE FROM other$x$", "UPDATE"),
        ("postgresql", "EXPLAIN (ANALYZE, BUFFERS) UPDATE shop_order SET total = 1", "UPDATE"),
        ("mysql", "REPLACE INTO `shop_order` VALUES (1)", "REPLACE"),
        ("mysql", "INSERT IGNORE `shop`.`shop_order` VALUES (1)", "INSERT"),
        ("mysql", "DELETE `shop_order` FROM `shop_order` INNER JOIN `other` ON 1", "DELETE"),
        ("mysql", "DELETE o FROM shop_order AS o JOIN other", "DELETE"),
        ("mysql", "DELETE o FROM shop_order o JOIN other", "DELETE"),
        ("mysql", "UPDATE shop_order JOIN other ON 1 SET shop_order.total = 1", "UPDATE"),
        ("mysql", "# DELETE FROM other\nUPDATE shop_order SET note = 'it\\'s'", "UPDATE"),
        ("mysql", "TRUNCATE TABLE `shop_order`", "TRUNCATE"),
        ("mysql", "LOAD DATA LOCAL INFILE 'x' REPLACE INTO TABLE shop_order FIELDS", "LOAD"),
        ("sqlite", "INSERT OR IGNORE INTO [shop_order] VALUES (1)", "INSERT"),
        ("sqlite", 'UPDATE OR REPLACE main."shop_order" SET total = 1', "UPDATE"),
    ],
)  # fmt: skip
def test_dialects(vendor, sql, verb):
    assert told(sql, vendor) == [(verb, "shop_order")]


@pytest.mark.parametrize(
    ("vendor", "sql", "tables"),
    [
        ("postgresql", 'TRUNCATE a, "b", shop.c', ["a", "b", "c"]),
        ("mysql", "DELETE a, b FROM a JOIN b", ["a", "b"]),
        ("postgresql", "WITH x AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM x",
         ["a", "b"]),
        ("sqlite", "DELETE FROM a; DELETE FROM b", ["a", "b"]),
    ],
)  # fmt: skip
def test_several_tables(vendor, sql, tables):
    assert [write.table for write in writes(sql, vendor)] == tables


@pytest.mark.parametrize("vendor", EVERYWHERE)
@pytest.mark.parametrize(
    "sql",
    [
        "",
        ";",
        "SELECT * FROM shop_order FOR UPDATE",
        "SELECT REPLACE(name, 'a', 'b') FROM shop_order",
        "SELECT UPPER(REPLACE(name, 'a', 'b')) FROM shop_order",
        "SELECT * FROM shop_order WHERE note = 'UPDATE shop_order SET x'",
        'SELECT "update" FROM shop_order WHERE (delete, shop_order) IN (SELECT 1, 2)',
        "-- UPDATE shop_order\nSELECT 1",
        "/* DELETE FROM shop_order */ SELECT 1",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "CREATE TABLE copy AS SELECT * FROM shop_order",
        "CREATE TRIGGER t AFTER UPDATE ON shop_order BEGIN SELECT 1; DELETE FROM shop_order; END",
        "ALTER TABLE shop_order ADD CONSTRAINT c FOREIGN KEY (x) REFERENCES y ON DELETE CASCADE",
        "EXPLAIN UPDATE shop_order SET total = 1",
        "COPY shop_order TO STDOUT",
        "COPY (SELECT 1 FROM shop_order) TO STDOUT",
        "SAVEPOINT shop_order",
        "UPDATE",
        "DELETE",
        "DELETE FROM",
        "TRUNCATE (1)",
    ],
)
def test_no_table(vendor, sql):
    assert told(sql, vendor) == []


def test_names_are_as_they_are_written():
    assert told('UPDATE "a ""b"" c" SET x = 1') == [("UPDATE", 'a "b" c')]
    assert told("UPDATE Shop_Order SET x = 1") == [("UPDATE", "Shop_Order")]
    assert told('INSERT INTO t ("update") VALUES (%(update)s) ON CONFLICT DO UPDATE SET x = 1') == [
        ("INSERT", "t")
    ]
