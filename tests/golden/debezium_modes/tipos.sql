-- The rows that every recording of this folder was made from (Debezium 3.6.3.Final, Postgres 18).
CREATE EXTENSION IF NOT EXISTS hstore; CREATE EXTENSION IF NOT EXISTS citext; CREATE EXTENSION IF NOT EXISTS ltree;
CREATE TYPE humor AS ENUM ('feliz','triste'); CREATE DOMAIN cpf_t AS varchar(14);
CREATE TABLE tipos(id int PRIMARY KEY, i8 bigint, n numeric, n122 numeric(12,2), n50 numeric(5,0), n205 numeric(20,5), nneg numeric(5,-2), m money,
 by bytea, dt date, ti time, ti0 time(0), ti3 time(3), tz timetz, ts timestamp, ts0 timestamp(0), ts3 timestamp(3), tt timestamptz, tt3 timestamptz(3),
 iv interval, hs hstore, b1 bit(1), b8 bit(8), b16 bit(16), vb varbit, vb5 varbit(5), pt point, x text, o oid, r real, d float8,
 a_i2 int2[], a_i4 int4[], a_n2 numeric(10,2)[], a_n numeric[], a_by bytea[], a_dt date[], a_ti time[], a_ts timestamp[], a_ts3 timestamp(3)[], a_tt timestamptz[], a_t text[], a_b bool[], a_hs hstore[], a_d float8[], a_o oid[], a_u uuid[]);
INSERT INTO tipos VALUES (1,9223372036854775807,123456789.123456789,-0.01,12345,0.00001,12300,'$12.34','\xdeadbeef00fbff','2024-02-29','23:59:59.123456','23:59:59','23:59:59.123','23:59:59.123456-03',
 '2024-02-29 23:59:59.123456','2024-02-29 23:59:59','2024-02-29 23:59:59.123','2024-02-29 23:59:59.123456-03','2024-02-29 23:59:59.123-03','1 year 2 mons 3 days 04:05:06.789','k=>v,n=>NULL',B'1',B'10101010',B'1000000000000001',B'00101',B'10101','(1.5,-2.5)','<a>b</a>',4294967295,1.1,0.1,
 '{1,NULL}','{1,NULL}','{1.10,NULL}','{1.5,NULL}',array['\x0102'::bytea,null],'{2024-02-29,NULL}','{12:00:00.5,NULL}','{2024-02-29 12:00:00.5,NULL}','{2024-02-29 12:00:00.5,NULL}','{2024-02-29 12:00:00.5-03,NULL}','{a,NULL}','{t,NULL}',array['a=>b'::hstore,null],'{1.5,NULL}','{42,NULL}','{6f9619ff-8b86-d011-b42d-00c04fc964ff,NULL}');
INSERT INTO tipos(id) VALUES (2);
INSERT INTO tipos(id,n,n122,dt,ti,tz,ts,ts0,ts3,tt,tt3,iv,r,d,m,by,pt,a_i4,a_t,a_n2,a_d,a_b) VALUES
 (3,'NaN','NaN','infinity','24:00:00','24:00:00+05:30','infinity','infinity','infinity','infinity','infinity','-1 mons +2 days -03:00:00','NaN','Infinity','-$1234.56','\x','(NaN,Infinity)','{}','{}','{NaN}','{NaN,Infinity}','{NULL}'),
 (4,'Infinity',0,'-infinity','00:00:00','00:00:00-15:59','-infinity','-infinity','-infinity','-infinity','-infinity','178000000 years','Infinity','NaN','0','\x00','(0,-0)','{{1,2},{3,4}}','{{a,b},{c,d}}','{{1.5},{2.5}}','{{1.5},{2.5}}','{{t},{f}}'),
 (5,1e40,9999999999.99,'0044-03-15 BC','00:01:00','00:00:00+00','0044-03-15 12:00:00 BC','0044-03-15 12:00:00 BC','0044-03-15 12:00:00 BC','0044-03-15 12:00:00+00 BC','0044-03-15 12:00:00+00 BC','00:00:00',1,1,'0','\x0102','(1,1e22)',null,null,null,null,null),
 (6,12345678901234567890.123456789,123456789.12,'9999-12-31','12:00','12:00:00.1-03:30','9999-12-31 23:59:59.999999','9999-12-31 23:59:59','9999-12-31 23:59:59.999','10000-01-01 00:00:00+00','294276-12-31 23:59:59+00','1 day',1e30,1e300,'0',null,null,null,null,null,null,null),
 (7,-0.1,-123.4,'1500-02-28','12:00','12:00:00','1500-02-28 23:59:59.9','1500-02-28','1500-02-28','1500-02-28+00','0001-01-01 00:00:00+00','-1 microsecond',1e-30,1e-300,'0',null,null,null,null,null,null,null),
 (8,1000,1,'0001-01-01','12:00','12:00:00','294246-12-31 23:59:59.999999','294246-12-31 23:59:59','294246-12-31 23:59:59','9999-12-31 23:59:59.999999+00','2024-01-01','1 day',1e-30,1e-300,'0',null,null,null,null,null,null,null);
