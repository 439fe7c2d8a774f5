-- The application's database, made once, when the container first starts: what production has already.
-- `app` owns the table and may replicate, but is no superuser: what a service can do here, it can do in production.
CREATE ROLE app LOGIN REPLICATION PASSWORD 'sandbox';
CREATE DATABASE app OWNER app;
\connect app
SET ROLE app;
CREATE TABLE "Usuários" (id bigint PRIMARY KEY, nome text, email text, cpf varchar(14), telefone text,
 data_nascimento date, endereco jsonb, saldo numeric(12,2), ativo boolean, criado_em timestamptz,
 atualizado_em timestamp, tags text[], uuid_externo uuid, bio text);

-- Rows that were there before anybody looked: a backfill has something to read. Every third bio is stored out of line
-- (TOAST), since text of random digits does not compress.
INSERT INTO "Usuários"
SELECT n, 'Usuário ' || n, 'u' || n || '@exemplo.com', lpad(n::text, 11, '0'), '+55 11 9' || lpad(n::text, 8, '0'),
       date '1970-01-01' + n, jsonb_build_object('uf', 'SP', 'numero', n), n / 100.0, n % 5 <> 0,
       now() - n * interval '1 hour', localtimestamp, ARRAY['novo', 'ção'], gen_random_uuid(),
       CASE WHEN n % 3 = 0 THEN (SELECT string_agg(md5(n || '-' || k), '') FROM generate_series(1, 140) k) ELSE 'curta' END
  FROM generate_series(1, 1000) n;
