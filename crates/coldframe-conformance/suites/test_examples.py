"""The examples, run as they are: real clients, real servers, AWS's own runtime clients."""

import re
import time
import unittest

import services
import support
import tools


class Example(unittest.TestCase):
    """One service for the tests of a class, and its examples with what they depend on."""

    examples = ()
    options = ()

    @classmethod
    def setUpClass(cls):
        # The first time this installs, which takes longer than any test.
        for name in cls.examples:
            tools.example(name)
        cls.service = cls.enterClassContext(support.Service(*cls.options))
        cls.client = cls.service.client()

    def deploy(self, name, directory, **config):
        support.deploy(self.client, name, tools.package(directory), **config)
        return name

    def invoke(self, name, event=None):
        """An invocation that must end well: its result."""
        answer = support.invoke(self.client, name, event, tail=True)
        self.assertIsNone(answer.error, answer)
        return answer.json

    def fail_to(self, name, event=None):
        """An invocation that must end in a function error: its body."""
        answer = support.invoke(self.client, name, event, tail=True)
        self.assertEqual(answer.error, "Unhandled", answer)
        return answer.json

    def renew(self, name):
        """Changes the function: the environments there are serve nobody any more."""
        old = {one["id"] for one in self.service.environments(name)}
        timeout = self.client.get_function_configuration(FunctionName=name)["Timeout"]
        self.client.update_function_configuration(FunctionName=name, Timeout=timeout + 1)
        support.updated(self.client, name)
        return old

    def only_environment(self, name):
        [one] = self.service.wait_for_states(name, "frozen")
        return one


class PostgresPython(Example):
    examples = ["postgres-python"]

    @classmethod
    def setUpClass(cls):
        cls.postgres = cls.enterClassContext(services.Postgres())
        cls.options = ["--allow-host-port", str(cls.postgres.port)]
        super().setUpClass()

    def function(self, name, handler):
        variables = {"Variables": {"DATABASE_URL": self.postgres.url}}
        directory = tools.example("postgres-python")
        return self.deploy(name, directory, Handler=handler, Environment=variables)

    def test_a_connection_of_init_serves_every_invocation(self):
        name = self.function("outside", "app.handler")
        first = self.invoke(name, {"name": "reuse"})
        self.assertEqual(first["greeting"], "Hello, reuse!")
        for _ in range(20):
            # Each time through a freeze: the server's process waits on the other side.
            self.only_environment(name)
            self.assertEqual(self.postgres.backends(), {first["backend"]: "idle"})
            self.assertEqual(self.invoke(name)["backend"], first["backend"])
        environment = self.only_environment(name)
        self.assertEqual(environment["invocations"], 21)

        old = self.renew(name)
        second = self.invoke(name)
        self.assertNotEqual(second["backend"], first["backend"])
        support.wait_until(
            lambda: old.isdisjoint(one["id"] for one in self.service.environments(name)),
            "the old environment is gone",
        )
        # With it went its connection.
        support.wait_until(
            lambda: self.postgres.backends() == {second["backend"]: "idle"},
            "only the new environment is connected",
        )
        self.client.delete_function(FunctionName=name)
        support.wait_until(lambda: not self.postgres.backends(), "nobody is connected")

    def test_it_runs_as_its_text_says(self):
        done = tools.coldframe(
            *["run", tools.example("postgres-python"), "--allow-host-port", self.postgres.port],
            *["--env", f"DATABASE_URL={self.postgres.url}"],
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        backends = re.findall(r'^  → .*"backend": (\d+)', done.stdout, re.MULTILINE)
        self.assertEqual(len(backends), 3, done.stdout)
        self.assertEqual(len(set(backends)), 1, done.stdout)

    def test_a_connection_of_the_handler_is_a_new_one_each_time(self):
        name = self.function("inside", "per_invocation.handler")
        backends = [self.invoke(name)["backend"] for _ in range(10)]
        self.assertEqual(len(set(backends)), 10, "each invocation had a server process of its own")
        self.assertEqual(self.only_environment(name)["invocations"], 10)
        self.client.delete_function(FunctionName=name)

    def test_a_database_that_is_away_fails_the_init(self):
        name = "nowhere"
        url = f"postgresql://postgres@127.0.0.1:{services.free_port()}/postgres"
        directory = tools.example("postgres-python")
        self.deploy(name, directory, Environment={"Variables": {"DATABASE_URL": url}})
        error = self.fail_to(name)
        self.assertEqual(error["errorType"], "OperationalError")
        self.assertIn("Connection refused", error["errorMessage"])
        # The invocation before leaves no environment that would be thought sound.
        self.assertEqual(self.fail_to(name)["errorType"], "OperationalError")
        self.client.delete_function(FunctionName=name)


class PostgresNode(Example):
    examples = ["postgres-node"]

    @classmethod
    def setUpClass(cls):
        cls.postgres = cls.enterClassContext(services.Postgres())
        cls.options = ["--allow-host-port", str(cls.postgres.port)]
        super().setUpClass()

    def function(self, name, handler):
        variables = {"Variables": {"DATABASE_URL": self.postgres.url}}
        return self.deploy(
            name,
            tools.example("postgres-node"),
            Runtime=tools.node_runtime(),
            Handler=handler,
            Environment=variables,
        )

    def test_a_pool_that_was_destroyed_fails_in_the_reused_environment(self):
        name = self.function("trusting", "trusting.handler")
        self.assertGreater(self.invoke(name)["backend"], 0)
        for _ in range(2):
            self.assertIn("Unable to acquire a connection", self.fail_to(name)["errorMessage"])
        # A function error is no crash: it is the same environment that fails on and on.
        self.assertEqual(self.only_environment(name)["invocations"], 3)
        # A new one works, once.
        self.renew(name)
        self.assertGreater(self.invoke(name)["backend"], 0)
        self.assertIn("Unable to acquire a connection", self.fail_to(name)["errorMessage"])

    def test_a_pool_that_is_initialised_anew_always_works(self):
        name = self.function("renewing", "renewing.handler")
        backends = [self.invoke(name)["backend"] for _ in range(6)]
        self.assertEqual(len(set(backends)), 6)
        self.assertEqual(self.only_environment(name)["invocations"], 6)
        support.wait_until(lambda: not self.postgres.backends(), "nobody is connected")


class S3(Example):
    examples = ["s3-python"]

    @classmethod
    def setUpClass(cls):
        cls.moto = cls.enterClassContext(services.Moto())
        cls.options = ["--allow-host-port", str(cls.moto.port)]
        super().setUpClass()

    def test_a_client_made_at_import_lists_buckets(self):
        buckets = self.moto.client()
        buckets.create_bucket(Bucket="first")
        name = self.deploy(
            "buckets",
            tools.example("s3-python"),
            Environment={"Variables": {"AWS_ENDPOINT_URL_S3": self.moto.url}},
        )
        self.assertEqual(self.invoke(name), {"buckets": ["first"], "invocations": 1})
        buckets.create_bucket(Bucket="second")
        self.only_environment(name)
        self.assertEqual(self.invoke(name), {"buckets": ["first", "second"], "invocations": 2})
        self.renew(name)
        self.assertEqual(self.invoke(name), {"buckets": ["first", "second"], "invocations": 1})


class Extensions(unittest.TestCase):
    """Layers with an extension, shown by `coldframe run` beside the function's own lines."""

    ID = r"[0-9a-f-]{36}"

    def run_with(self, layer):
        done = tools.coldframe("run", tools.EXAMPLES / "hello-python", "--layer", layer, "--memory", 512)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assertIn('"greeting": "Hello, world!"', done.stdout)
        return done.stdout

    def test_telemetry_in_python(self):
        shown = self.run_with(tools.EXAMPLES / "extension-telemetry")
        self.assertEqual(len(re.findall(rf"\[telemetry\] invocation {self.ID}", shown)), 3, shown)
        for text in (
            "platform.initStart:", "platform.telemetrySubscription: telemetry Subscribed", "platform.initRuntimeDone: success",
            "platform.extension: telemetry Ready", r"platform.initReport: success durationMs [\d.]+", "platform.start:",
            "function: invocation 1 of this environment",
            r"platform.runtimeDone: success responseLatency [\d.]+ ms responseDuration [\d.]+ ms runtimeOverhead [\d.]+ ms durationMs [\d.]+",
            r"platform.report: success extensionOverhead [\d.]+ ms durationMs [\d.]+ maxMemoryUsedMB \d+",
        ):
            self.assertRegex(shown, rf"\[telemetry\] {text}")

    def test_rust_by_aws_crate(self):
        shown = self.run_with(tools.extension_rust())
        self.assertEqual(len(re.findall(rf"\[extension\] invocation {self.ID}", shown)), 3, shown)
        for number in (1, 2, 3):
            self.assertIn(f"[extension] function: invocation {number} of this environment", shown)
        # The last one's report comes before the shutdown, which isn't shown.
        self.assertEqual(len(re.findall(rf"\[extension\] report: {self.ID} Success \d+ of 512 MB", shown)), 2)

    def test_the_crate_reads_every_record(self):
        layer = {"extensions/extension-rust": ((tools.extension_rust() / "extensions/extension-rust").read_bytes(), 0o755)}
        with support.Layered(layer) as service:
            client = service.client()
            name = support.deploy_lab(client, "lab", Timeout=1)
            trace = {"X-Amzn-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"}
            service.invoke_plain(name, b'{"code": "print(1)"}', trace)
            service.settle(name)
            for code in ("raise ValueError('x')", "os._exit(1)", "time.sleep(60)", ""):
                support.run(client, name, code)
            service.wait_for_states(name, "frozen")
            client.update_function_configuration(FunctionName=name, Timeout=2)
            support.updated(client, name)
            support.wait_until(lambda: not service.environments(name), "the environment is gone")
            log = service.log(name)
        statuses = re.findall(rf"\[extension\] report: {self.ID} (\w+) ", log)
        self.assertEqual(statuses, ["Success", "Error", "Error", "Timeout", "Success"], log)
        reasons = re.findall(r"\[extension\] shutdown: (\w+)", log)
        self.assertEqual(reasons, ["failure", "timeout", "spindown"], log)
        # Nothing was refused, as what it can't read would be.
        self.assertNotIn("LOGS_DROPPED", log)


class WithoutServers(Example):
    examples = ["tmp-python", "background-thread", "runtime-client-python", "runtime-client-node"]

    def test_tmp_is_found_on_reuse_and_gone_in_a_new_environment(self):
        name = self.deploy("tmp", tools.example("tmp-python"))
        first = self.invoke(name)
        self.assertIsNone(first["found"])
        second = self.invoke(name)
        self.assertEqual(second["found"], first["wrote"])
        self.assertEqual(self.invoke(name)["found"], second["wrote"])
        self.renew(name)
        self.assertIsNone(self.invoke(name)["found"])

    def test_a_background_thread_stands_still_while_frozen(self):
        name = self.deploy("thread", tools.example("background-thread"))
        first = self.invoke(name, {"ticks": 50})
        self.assertGreaterEqual(first["ended"], first["began"] + 50)
        self.only_environment(name)
        # Not a wait for something: the time in which a running thread would count on.
        time.sleep(2)
        second = self.invoke(name, {"ticks": 50})
        # At 1 ms for each count these were hundreds. What is seen are those of the way to the
        # freeze and of the way from the thaw to the handler.
        self.assertLess(second["began"] - first["ended"], 200)
        # And it has gone on, or the handler would still wait.
        self.assertGreaterEqual(second["ended"], second["began"] + 50)

    def test_rust_by_its_own_runtime(self):
        name = self.deploy(
            "rust", tools.hello_rust(), Runtime="provided.al2023", Handler="bootstrap"
        )
        first = support.invoke(self.client, name, {"name": "Rust"}, tail=True)
        self.assertIsNone(first.error, first)
        self.assertEqual(first.json["greeting"], "Hello, Rust!")
        self.assertEqual(first.json["invocations"], 1)
        self.assertEqual(first.json["requestId"], first.request_id)
        self.assertTrue(first.json["functionArn"].endswith(":function:rust"), first)
        self.assertIn("invocation 1 of this environment\n", first.tail)
        second = self.invoke(name)
        self.assertEqual(second["invocations"], 2)
        self.assertEqual(second["pid"], first.json["pid"])
        error = self.fail_to(name, {"fail": True})
        self.assertEqual(error["errorMessage"], "asked to fail")
        # The program goes on after an error.
        self.assertEqual(self.invoke(name)["invocations"], 3)

    def test_python_by_awslambdaric(self):
        self.check_runtime_client(
            "ric-python", "runtime-client-python", "app.handler", "ValueError"
        )

    def test_node_by_aws_lambda_ric(self):
        self.check_runtime_client("ric-node", "runtime-client-node", "index.handler", "RangeError")

    def check_runtime_client(self, name, directory, handler, error_type):
        package = tools.example(directory)
        self.deploy(name, package, Runtime="provided.al2023", Handler=handler)
        first = support.invoke(self.client, name, {"name": "client"}, tail=True)
        self.assertIsNone(first.error, first)
        self.assertEqual(first.json["greeting"], "Hello, client!")
        self.assertEqual(first.json["requestId"], first.request_id)
        self.assertIn("invocation 1 of this environment", first.tail)
        self.assertIn("Init Duration", first.report)
        self.only_environment(name)
        second = support.invoke(self.client, name, tail=True)
        self.assertEqual(second.json["invocations"], 2)
        self.assertNotIn("Init Duration", second.report)
        error = self.fail_to(name, {"fail": True})
        self.assertEqual(error["errorType"], error_type)
        self.assertEqual(error["errorMessage"], "asked to fail")
        # The interpreter goes on after an error.
        self.assertEqual(self.invoke(name)["invocations"], 4)
        # A handler that isn't there: the client reports it as an error of init.
        self.client.update_function_configuration(FunctionName=name, Handler="absent.handler")
        support.updated(self.client, name)
        error = self.fail_to(name)
        self.assertIn("ImportModuleError", error["errorType"])


if __name__ == "__main__":
    unittest.main()
