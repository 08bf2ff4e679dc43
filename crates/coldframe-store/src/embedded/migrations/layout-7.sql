-- A store of layout 7, as the program of that time wrote it.
CREATE TABLE access_key (
            id     TEXT NOT NULL PRIMARY KEY,
            record TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
INSERT INTO "access_key" VALUES('AKIAONE','{"account":"123456789012","user":"ann","secret_key":"one","created":"2026-11-28T06:14:43Z"}');
CREATE TABLE account (
            id     TEXT NOT NULL PRIMARY KEY,
            record TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
INSERT INTO "account" VALUES('123456789012','{"name":"team","created":"2026-11-28T06:14:43Z"}');
CREATE TABLE alias (
            account TEXT NOT NULL,
            region  TEXT NOT NULL,
            name    TEXT NOT NULL,
            alias   TEXT NOT NULL,
            record  TEXT NOT NULL,
            PRIMARY KEY (account, region, name, alias)
        ) STRICT, WITHOUT ROWID;
INSERT INTO "alias" VALUES('000000000000','eu-west-1','hello','live','{"version":"1","description":"","revision_id":"f3ed1816-cecc-4cea-8aa0-26634730c4b2","weights":{},"policy":["{\"Sid\":\"s\",\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"s3.amazonaws.com\"},\"Action\":\"lambda:InvokeFunction\",\"Resource\":\"arn:aws:lambda:eu-west-1:000000000000:function:hello:live\"}"],"policy_head":null,"provisioned":null}');
CREATE TABLE event (
            id          INTEGER PRIMARY KEY,
            lane        TEXT NOT NULL,
            due_ms      INTEGER NOT NULL,
            enqueued_ms INTEGER NOT NULL,
            attempts    INTEGER NOT NULL,
            checksum    INTEGER NOT NULL,
            head        TEXT NOT NULL,
            payload     BLOB NOT NULL
        ) STRICT;
INSERT INTO "event" VALUES(1,'arn:aws:lambda:eu-west-1:000000000000:function:hello',1795846544870,1795846484775,1,185723624,'{"request_id":"242667ed-1fc0-4200-b548-b062357cfa64","trace_header":"Root=1-6b0a7154-cc4576e0175246818889f65d;Parent=6d1da694dfb44fcb;Sampled=0","work":{"Invoke":{"function":{"account":"000000000000","region":"eu-west-1","name":"hello"},"qualifier":null,"tenant_id":null}}}',X'7B2261223A317D');
CREATE TABLE event_source_mapping (
            id     TEXT NOT NULL PRIMARY KEY,
            record TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
INSERT INTO "event_source_mapping" VALUES('7c1a1b52-5b1e-4d2e-9c39-5a4f8f3f0b11','{"function":{"account":"000000000000","region":"eu-west-1","name":"hello"},"qualifier":"live","source":"arn:aws:sqs:eu-west-1:000000000000:q","enabled":true,"transition":"Creating","last_modified_ms":1700000000000,"settings":{"BatchSize":10},"tags":{}}');
CREATE TABLE function (
            account TEXT NOT NULL,
            region  TEXT NOT NULL,
            name    TEXT NOT NULL,
            record  TEXT NOT NULL, settings TEXT NOT NULL DEFAULT '{}',
            PRIMARY KEY (account, region, name)
        ) STRICT, WITHOUT ROWID;
INSERT INTO "function" VALUES('000000000000','eu-west-1','hello','{"runtime":"python3.11","handler":"app.handler","role":"arn:aws:iam::000000000000:role/any","description":"","memory_mb":128,"timeout_s":3,"ephemeral_storage_mb":512,"environment":{"GREETING":"Hällo ''x''"},"architectures":["x86_64"],"tracing":"PassThrough","logging":{"format":"Text","application_level":null,"system_level":null,"group":"/aws/lambda/hello"},"code_sha256":"b6ec3dced7f35fb912555f4eca0ce287f33f1c9ffd68219d3a332cf21239d208","code_size":149,"package_type":"Zip","last_modified":"2026-11-28T06:14:44.677+0000","revision_id":"d7c3541b-df6a-45e6-928b-5bbb5fedefbb","generation":"aaa34808-5f0a-4638-9d6a-c35868612239","state":"Active","update":"Successful","echoed":{},"unzipped_size":39,"layers":[{"arn":"arn:aws:lambda:eu-west-1:000000000000:layer:lib:1","sha256":"b6ec3dced7f35fb912555f4eca0ce287f33f1c9ffd68219d3a332cf21239d208","code_size":149,"unzipped_size":39}],"policy":[],"policy_head":null,"runtime_update":null,"provisioned":null}','{"tags":{"team":"a"},"last_version":1,"published_description":"","reserved_concurrency":null,"event_invoke":{},"recursive_loop":null,"urls":{}}');
INSERT INTO "function" VALUES('123456789012','eu-west-1','other','{"runtime":"provided.al2023","handler":"x","role":"arn:aws:iam::123456789012:role/any","description":"","memory_mb":128,"timeout_s":3,"ephemeral_storage_mb":512,"environment":null,"architectures":["x86_64"],"tracing":"PassThrough","logging":{"format":"Text","application_level":null,"system_level":null,"group":"/aws/lambda/other"},"code_sha256":"b6ec3dced7f35fb912555f4eca0ce287f33f1c9ffd68219d3a332cf21239d208","code_size":149,"package_type":"Zip","last_modified":"2026-11-28T06:14:44.742+0000","revision_id":"86a619ab-8ad3-4775-a2fb-aedebc4acbf6","generation":"de6b43c0-43cb-4131-adff-743b9f403c2e","state":"Active","update":"Successful","echoed":{},"unzipped_size":39,"layers":[],"policy":[],"policy_head":null,"runtime_update":null,"provisioned":null}','{"tags":{},"last_version":0,"published_description":"","reserved_concurrency":null,"event_invoke":{},"recursive_loop":null,"urls":{}}');
CREATE TABLE layer (
            account TEXT NOT NULL,
            region  TEXT NOT NULL,
            name    TEXT NOT NULL,
            number  INTEGER NOT NULL,
            record  TEXT,
            PRIMARY KEY (account, region, name, number)
        ) STRICT, WITHOUT ROWID;
INSERT INTO "layer" VALUES('000000000000','eu-west-1','lib',1,'{"description":"","created":"2026-11-28T06:14:44.652+0000","sha256":"b6ec3dced7f35fb912555f4eca0ce287f33f1c9ffd68219d3a332cf21239d208","code_size":149,"unzipped_size":39,"architectures":null,"runtimes":["python3.11"],"license":null,"policy":[],"revision_id":"75c15144-bc87-4901-8b68-0f1e15194b6e"}');
INSERT INTO "layer" VALUES('000000000000','eu-west-1','lib',2,NULL);
CREATE TABLE policy (
                account TEXT NOT NULL,
                name    TEXT NOT NULL,
                record  TEXT NOT NULL,
                PRIMARY KEY (account, name)
            ) STRICT, WITHOUT ROWID;
INSERT INTO "policy" VALUES('000000000000','p','{"path":"/","document":"{\"Version\":\"2012-10-17\",\"Statement\":[]}","description":"","created":"2026-11-28T06:14:44Z","tags":{}}');
CREATE TABLE role (
                account TEXT NOT NULL,
                name    TEXT NOT NULL,
                record  TEXT NOT NULL,
                PRIMARY KEY (account, name)
            ) STRICT, WITHOUT ROWID;
INSERT INTO "role" VALUES('000000000000','r','{"path":"/","trust":"{\"Version\": \"2012-10-17\", \"Statement\": [{\"Effect\": \"Allow\", \"Principal\": {\"Service\": \"lambda.amazonaws.com\"}, \"Action\": \"sts:AssumeRole\"}]}","description":"","max_session_s":3600,"created":"2026-11-28T06:14:44Z","tags":{},"attached":{},"inline":{}}');
CREATE TABLE secret (
            name  TEXT NOT NULL PRIMARY KEY,
            value BLOB NOT NULL
        ) STRICT, WITHOUT ROWID;
INSERT INTO "secret" VALUES('session',X'2E4CC2A753C2408CB9246FA5BA621E97086B0BE2F35F49ED881F024101C41DC8');
CREATE TABLE version (
            account TEXT NOT NULL,
            region  TEXT NOT NULL,
            name    TEXT NOT NULL,
            number  INTEGER NOT NULL,
            record  TEXT NOT NULL,
            PRIMARY KEY (account, region, name, number)
        ) STRICT, WITHOUT ROWID;
INSERT INTO "version" VALUES('000000000000','eu-west-1','hello',1,'{"runtime":"python3.11","handler":"app.handler","role":"arn:aws:iam::000000000000:role/any","description":"one","memory_mb":128,"timeout_s":3,"ephemeral_storage_mb":512,"environment":{"GREETING":"Hällo ''x''"},"architectures":["x86_64"],"tracing":"PassThrough","logging":{"format":"Text","application_level":null,"system_level":null,"group":"/aws/lambda/hello"},"code_sha256":"b6ec3dced7f35fb912555f4eca0ce287f33f1c9ffd68219d3a332cf21239d208","code_size":149,"package_type":"Zip","last_modified":"2026-11-28T06:14:44.677+0000","revision_id":"fff1b375-5978-40d7-9c3a-00c2757a1c0d","generation":"7424ddb5-55b8-4520-a20a-87aa1a846e9f","state":"Active","update":"Successful","echoed":{},"unzipped_size":39,"layers":[{"arn":"arn:aws:lambda:eu-west-1:000000000000:layer:lib:1","sha256":"b6ec3dced7f35fb912555f4eca0ce287f33f1c9ffd68219d3a332cf21239d208","code_size":149,"unzipped_size":39}],"policy":[],"policy_head":null,"runtime_update":null,"provisioned":null}');
CREATE INDEX event_waiting ON event (lane, due_ms, enqueued_ms, attempts);
PRAGMA user_version = 7;
