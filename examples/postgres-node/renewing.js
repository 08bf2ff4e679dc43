// Initialises its pool anew in every invocation, and destroys it when the invocation ends: nothing
// is trusted that an invocation before may have left.
//
//     npm install
//     coldframe run . --runtime nodejs22.x --handler renewing.handler --allow-host-port 5432 \
//         --env DATABASE_URL=postgresql://postgres@127.0.0.1/postgres

const knex = require("knex");

const database = knex({ client: "pg", connection: process.env.DATABASE_URL });

exports.handler = async () => {
  // Without a configuration it takes the one from above.
  if (!database.client.pool) database.initialize();
  const answer = await database.raw("select pg_backend_pid() as backend");
  await database.destroy();
  return answer.rows[0];
};
