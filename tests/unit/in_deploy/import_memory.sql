BEGIN TRANSACTION;
CREATE TABLE fed (cluster text not null);
INSERT INTO "fed" VALUES('K');
CREATE TABLE participation (reference text primary key, run text not null, person text not null);
INSERT INTO "participation" VALUES('AAA-1','AAA','1');
INSERT INTO "participation" VALUES('AAA-2','AAA','2');
INSERT INTO "participation" VALUES('AAA-3','AAA','3');
INSERT INTO "participation" VALUES('AAA-4','AAA','4');
CREATE TABLE secret (value blob not null);
INSERT INTO "secret" VALUES(X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F');
CREATE TABLE sent (
    id text primary key, key text not null, revision int not null, content text not null, day text not null,
    seen_at text not null, outcome text, reason text, pointer text, hint text,
    unique (key, revision)
);
INSERT INTO "sent" VALUES('9c6dc67a-eff5-8052-a679-2ccd04969bde','runAAA',1,'84286994a0e10784cc068ad3b8d465e93143a14840fbd4e238d67cb365667f51','','2026-11-24T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('5e69b738-a3e3-8c39-ae14-afe68252e6e4','registration1',1,'10d46edee515e8e7612374b6b849db6d7dfbe6c844ec7b0411fb1b4e8ce8506a','','2026-11-24T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('b6278bfd-b150-8b25-b335-8ce515129cae','consentAAA-1',1,'ba89d77b3784112b62371853471fb280f91d14a360f56a36bd6c074d6e4a5646','','2026-11-24T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('f8604de1-898e-8904-ab3e-aa196e82cf95','requestAAA-1',1,'3a716b1b571f3dd94932855377d392fbbe5b419300aba7b874757b6c6a684717','','2026-11-24T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('eebc719b-7b82-87d7-9713-a590aa3288ee','answerAAA-1',1,'3c62b7defb08a659a75f408d87ff92000f9168346fc53d6c2acecc65f83fba8b','','2026-11-24T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('88ef8126-5163-802d-9f5a-dc19c621400e','startAAA-1',1,'ec6d5e25bd1d500488cc95e7e9f2dbc33e4c054d49f50fa2ceb07591dddb6555','','2026-11-24T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('6d0cd94d-4551-805d-aa1a-f9fc90ae6a28','endAAA-1',1,'dc1ed3bda98de134a2023e683192029e923cf32b9c9e045ca28c6247a7d18cf9','2014-02-01','2026-11-24T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('9fd38d9d-b31c-8bea-ba96-66e3283b5a12','attendanceAAA-1m1',1,'b5ac8e486d9f3414951cf9484c990572f9d1cdee2fcd55ff40a5564568d7415e','','2026-11-25T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('297df43b-b335-888e-9ca6-b0b877ac8656','attendanceAAA-1m1',2,'7946dc12401da10ed69c1dad238294febad21431d09f67c4ace983dbbaf02743','','2026-11-25T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('226e66bf-7895-8c72-8349-33286dd38bfe','attendanceAAA-1m2',1,'fdb828f8b82bd511ddfbd01e09e1e8f023a513155ad09eb1fcb7ef3088c606d8','','2026-11-25T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('f6b97549-dcd0-8b18-b34b-cc8cc9cbfe4d','attendanceAAA-1m2',2,'a9ba250bb6db6d5afca06a247006fb70213dde22e159a2e093f05db4ae5032d7','','2026-11-26T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('e2083ee1-6bb0-815d-878a-8631d6dd792d','registration2',1,'115b82b9a07b48f6baef649c712f79162e2bffff67faa411102c00b9f0d8bc6e','','2026-11-25T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('f21f587d-2f23-8b52-8732-29295bd8f42d','consentAAA-2',1,'239cfada2fd3f61235c4bda1bedb7e1087bc8378e1c50a4d42af1b85e42550e3','','2026-11-25T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('ad0a9777-78fc-8550-8119-7ce9463f8c62','requestAAA-2',1,'f16cf8bdcbce45dba96d5fc2b2638ef5263be83365b18318f19765e89f516dfc','','2026-11-25T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('fb9966eb-2e24-8ae0-920c-56971a38613c','answerAAA-2',1,'b7ef4baa041fb2a47bc41aa7e738fc6dcd1beea4b07814484a34b4782bdadd7a','','2026-11-25T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('e93f9ff6-dae4-8c6b-aa08-fd0921df4bc5','startAAA-2',1,'4d2c9a7665f40cc8ffee6437744490dd27df37af25b0dda7055decc8bf4f82a4','','2026-11-25T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('756bc2de-8123-8897-b394-9934ebae4f9e','endAAA-2',1,'538b8000d61662891850c2f20a8135ad19cd2afb6ce30a66346f23712f7d9451','2014-02-01','2026-11-25T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('69645099-a28f-86f9-be7c-f379dd4feee3','endAAA-2',2,'taken back','2014-02-01','2026-11-27T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('d828f979-d8a5-8038-89bd-e6a94193da24','endAAA-2',3,'37455378cf91c59e1afc88daf09f0ce0111eff56b24ab294541997a6924cd9e4','2014-02-01','2026-11-28T12:00:00Z','recorded',NULL,NULL,'');
INSERT INTO "sent" VALUES('d7068ce8-aaa2-8dd2-8d64-797d1a7a6b7d','registration3',1,'14669f483af786914480b08b94ac6aa7333a280ca254b197ad9171fde1a518fb','','2026-11-24T12:00:00Z','recorded','','','');
INSERT INTO "sent" VALUES('e6f9f059-749f-849d-9fed-8165759d4f06','consentAAA-3',1,'4958974082b9f4a1ae85975718d0d59c1c47b3eaa21e6b0c7978ec3ea631040e','','2026-11-24T12:00:00Z','recorded','','','');
INSERT INTO "sent" VALUES('88accba8-38b6-87ab-bd53-de229158c5e9','requestAAA-3',1,'a58b02841622ece7911e1e4e37cb649866d4efc4aedf656983212cc50bbb3be4','','2026-11-24T12:00:00Z','recorded','','','');
INSERT INTO "sent" VALUES('ecb530d8-c05b-8868-b98a-d002fb931567','answerAAA-3',1,'f8b5195bef5a8f05e29b567d355dfc1fcb28f9abe2b5723f7581505aa70b1946','','2026-11-24T12:00:00Z','recorded','','','');
INSERT INTO "sent" VALUES('21fd2ddc-5579-8a5b-936b-64e15013abc0','startAAA-3',1,'07364f2d7f6f04facdd3e3aa44234fa0e96ca1ab1541aa8bffea9da851a875df','','2026-11-24T12:00:00Z','refused','FUTURE_DAY','/started_on','The day lies after the day on which this arrived.');
INSERT INTO "sent" VALUES('7d52e57d-8195-8d7a-8745-a25751669721','registration4',1,'0b2d119fdece702bd870aba2f22be2fa5219ccdf1c14a1655a8d724ec82dfe04','','2026-11-24T12:00:00Z','recorded','','','');
INSERT INTO "sent" VALUES('e2bd1ab9-e5f6-853f-8dc3-dd63d506c0b4','consentAAA-4',1,'2108d4c13537bfbb60e7a7bb78fc68369c67bbc254d9fc753f4ddcfc381ae728','','2026-11-24T12:00:00Z','recorded','','','');
INSERT INTO "sent" VALUES('3bf8aec0-46a6-8e96-a280-3009bc56d06e','requestAAA-4',1,'4f624dc34d411498251c82dbc08ca50e28fbf0e6cde3e6742ba25bcda370b96c','','2026-11-24T12:00:00Z','recorded','','','');
INSERT INTO "sent" VALUES('202dfac7-7d37-80ac-83b5-4298a7fe1cd6','answerAAA-4',1,'48e77aed0bad18429f91ad7bc29827d1a8fcf74abded6d7a404e94dfa9bfbe75','','2026-11-24T12:00:00Z','recorded','','','');
INSERT INTO "sent" VALUES('c3e8d330-336c-8fd8-a069-5733d1dddc25','startAAA-4',1,'30a563abd045b6aebd26c95d1acc73a6dff1cf463da10ea052db636be64195e4','','2026-11-24T12:00:00Z','recorded','','','');
INSERT INTO "sent" VALUES('313ad3c3-625c-8354-937e-c48c8b93b97c','endAAA-4',1,'e115554bca75dd022e325924d1dbbe450a6c06e4bbb80d6a0d8c8ea7f1811aec','2014-02-01','2026-11-24T12:00:00Z',NULL,NULL,NULL,NULL);
CREATE INDEX unanswered on sent (id) where outcome is null;
COMMIT;
