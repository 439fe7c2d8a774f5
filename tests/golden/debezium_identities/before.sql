-- Tables of the recordings in this folder (Debezium 3.6.3.Final, Postgres 18), made before Debezium started.
CREATE TABLE padrao(id int PRIMARY KEY, cod text NOT NULL, v text, big text NOT NULL, nums numeric(10,2)[], by bytea NOT NULL);
CREATE TABLE inteira(LIKE padrao INCLUDING ALL); ALTER TABLE inteira REPLICA IDENTITY FULL;
CREATE TABLE indice(LIKE padrao INCLUDING ALL); CREATE UNIQUE INDEX indice_cod ON indice(cod, id);
ALTER TABLE indice REPLICA IDENTITY USING INDEX indice_cod;
CREATE TABLE sem_chave(LIKE padrao INCLUDING ALL); CREATE UNIQUE INDEX sem_chave_cod ON sem_chave(cod);
ALTER TABLE sem_chave REPLICA IDENTITY USING INDEX sem_chave_cod;
CREATE TABLE preset(id int PRIMARY KEY, ativo boolean DEFAULT true, status text NOT NULL DEFAULT 'novo', valor numeric(10,2) DEFAULT 1.50,
 em timestamptz DEFAULT now(), dia date DEFAULT '2024-02-29', nota text);
INSERT INTO preset VALUES (1,false,'x',2,'2024-01-01 00:00:00+00','2024-01-01','n'),(2,NULL,'novo',NULL,NULL,NULL,NULL);
