CREATE TABLE document (
    kind     TEXT NOT NULL,
    name     TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE part (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    part TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (kind, name, part)
) STRICT, WITHOUT ROWID;
-- One row: the last revision that was given to any document.
CREATE TABLE revision (last INTEGER NOT NULL) STRICT;
INSERT INTO revision VALUES (1);

INSERT INTO part
    SELECT 'function', account || '/' || region || '/' || name, 'latest', record FROM function;
INSERT INTO part
    SELECT 'function', account || '/' || region || '/' || name, 'settings', settings FROM function;
-- A version or alias of no function was none.
INSERT INTO part
    SELECT 'function', account || '/' || region || '/' || name, 'version/' || number, record
    FROM version WHERE (account, region, name) IN (SELECT account, region, name FROM function);
INSERT INTO part
    SELECT 'function', account || '/' || region || '/' || name, 'alias/' || alias, record
    FROM alias WHERE (account, region, name) IN (SELECT account, region, name FROM function);
INSERT INTO part
    SELECT 'layer', account || '/' || region || '/' || name, 'last', max(number)
    FROM layer GROUP BY account, region, name;
INSERT INTO part
    SELECT 'layer', account || '/' || region || '/' || name, 'version/' || number, record
    FROM layer WHERE record IS NOT NULL;
INSERT INTO part SELECT 'account', id, 'record', record FROM account;
INSERT INTO part SELECT 'access_key', id, 'record', record FROM access_key;
INSERT INTO part SELECT 'secret', name, 'record', '"' || lower(hex(value)) || '"' FROM secret;
INSERT INTO part SELECT 'role', account || '/' || name, 'record', record FROM role;
INSERT INTO part SELECT 'policy', account || '/' || name, 'record', record FROM policy;
INSERT INTO part SELECT 'event_source_mapping', id, 'record', record FROM event_source_mapping;
INSERT INTO document SELECT DISTINCT kind, name, 1 FROM part;

DROP TABLE function;
DROP TABLE version;
DROP TABLE alias;
DROP TABLE layer;
DROP TABLE account;
DROP TABLE access_key;
DROP TABLE secret;
DROP TABLE role;
DROP TABLE policy;
DROP TABLE event_source_mapping;
