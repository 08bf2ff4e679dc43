-- A store as the first release wrote it.
CREATE TABLE function (
    account TEXT NOT NULL,
    region  TEXT NOT NULL,
    name    TEXT NOT NULL,
    record  TEXT NOT NULL,
    PRIMARY KEY (account, region, name)
) STRICT, WITHOUT ROWID;
INSERT INTO function VALUES ('000000000000', 'eu-west-1', 'hello', '{"runtime":"python3.11","handler":"app.handler","role":"arn:aws:iam::000000000000:role/any","description":"","memory_mb":128,"timeout_s":3,"ephemeral_storage_mb":512,"environment":{"GREETING":"Hello"},"architectures":["x86_64"],"tracing":"PassThrough","logging":{"format":"JSON","application_level":"INFO","system_level":"INFO","group":"/aws/lambda/hello"},"code_sha256":"09ca7e4eaa6e8ae9c7d261167129184883644d07dfba7cbfbc4c8a2e08360d5b","code_size":412,"package_type":"Zip","last_modified":"2026-11-21T10:00:00.000+0000","revision_id":"5d1dbf56-4be1-4a4c-96ec-0ce5a1b5ec1b","generation":"0c2d1b56-7ac6-49c3-90ee-5d2e61e0f6a8","state":"Active","update":"Successful","tags":{"team":"a"},"echoed":{"VpcConfig":{"SubnetIds":[],"SecurityGroupIds":[]}}}');
INSERT INTO function VALUES ('123456789012', 'us-east-1', 'pending', '{"runtime":"provided.al2023","handler":"bootstrap","role":"arn:aws:iam::123456789012:role/any","description":"native","memory_mb":1769,"timeout_s":900,"ephemeral_storage_mb":10240,"environment":null,"architectures":["arm64"],"tracing":"Active","logging":{"format":"Text","application_level":null,"system_level":null,"group":"/aws/lambda/pending"},"code_sha256":"09ca7e4eaa6e8ae9c7d261167129184883644d07dfba7cbfbc4c8a2e08360d5b","code_size":412,"package_type":"Zip","last_modified":"2026-11-21T10:00:01.000+0000","revision_id":"93017fc9-59cb-41dc-901b-4845ce4bf668","generation":"a4f4e0f0-8ad9-4a1c-a9b5-9f6d3e7f1f7e","state":"Pending","update":null,"tags":{},"echoed":{}}');
PRAGMA user_version = 1;
