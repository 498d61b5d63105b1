package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
)

// A wrong is a configuration that is refused.
type wrong struct {
	name   string
	yaml   string
	want   string // all errors, without the file's name
	schema bool   // whether the schema refuses it too
}

// head is the begin of a file whose agents are right: its lines are 1 and 2.
const head = "agents: {disk: {local: /srv/b}, far: {s3: {bucket: acme}}}\njobs:\n"

// job is the begin of a file up to a job, in line 3; its options begin in line 4.
const job = head + "  web1:\n    to: [disk]\n    paths: [/var]\n"

// theBox is the begin of a file up to the options of an agent, in line 2, column 5.
const theBox = "agents: {b: {box: {\n    "

var wrongs = []wrong{
	// The file.
	{"empty", "", ": is empty: `offsite init` writes one to begin with", false},
	{"comments", "# nothing\n", ": is empty: `offsite init` writes one to begin with", false},
	{"list", "- a\n", ":1:1: the file is a list, not the mapping of agents and jobs", true},
	{"text", "hello", ":1:1: the file is text, not the mapping of agents and jobs", true},
	{"null", "~", ":1:1: the file is empty, not the mapping of agents and jobs", true},
	{"two documents", "agents: {d: {local: /b}}\n---\njobs: {}\n", ":2:1: a second document begins here; a configuration is one", false},
	{"a broken second", "agents: {d: {local: /b}}\n---\na: b: c\n", ":3:5: mapping values are not allowed in this context", false},
	{"no end", "agents: {d: {local: /b}\n", ":2:1: did not find expected ',' or '}', while parsing a flow mapping from line 1", false},
	{"tab", "agents:\n\td: {local: /b}\n", ":2:1: found character that cannot start any token, while scanning for the next token from line 2", false},
	{"not UTF-8", "agents:\n  é: \xff\n", ":2:6: is not UTF-8", false},
	{"control character", "agents:\n  d: \x1b[2J\n", ":2:6: has a character that cannot be seen, U+001B: write it in double quotes, as \"\\u001b\"", false},
	{"line separator", "agents: # \u2028jobs: {}\n", ":1:11: has a character that cannot be seen, U+2028: write it in double quotes, as \"\\u2028\"", true},
	{"UTF-16", "\xff\xfea\x00:\x00", ":1:1: is not UTF-8", true},
	{"large", strings.Repeat("#", 256<<10+1), ": has more than 256 KiB, which is no configuration", false},
	{"deep", strings.Repeat("[", 20000), ":1:10001: exceeded max depth of 10000, while increasing flow level from line 1", false},
	{"anchor", "agents: &a {d: {local: /b}}\n", ":1:9: anchors are not read: write it out; text that begins with & is written in quotes", false},
	{"alias", "agents: {d: {local: &a /b}, e: {local: *a}}\n", ":1:21: anchors are not read: write it out; text that begins with & is written in quotes\n:1:40: aliases are not read: write it out; text that begins with * is written in quotes", false},
	{"alias of nothing", job + "    exclude: [*.tmp]\n", ":6:15: an alias of something that is not there; text that begins with * is written in quotes", false},
	{"merge", "x: &x {d: {local: /b}}\nagents: {<<: *x}\n", ":1:4: anchors are not read: write it out; text that begins with & is written in quotes\n:2:14: aliases are not read: write it out; text that begins with * is written in quotes", true},
	{"merge in place", "agents: {<<: {d: {local: /b}}}\n", ":1:10: agents.\"<<\": \"<<\" is not a name: up to 64 of a-z A-Z 0-9 . _ -, with a letter or a digit first\n:1:15: agents.\"<<\".d: unknown key; known are box, limit, local, retry, s3, stall, total", true},
	{"tag", "agents: {d: {local: !!str /b}}\n", ":1:21: tags are not read: leave it out; text that begins with ! is written in quotes", false},

	// Keys.
	{"unknown", "agents: {d: {local: /b}}\njob: {}\n", ":2:1: job: unknown key; is jobs meant?", true},
	{"unknown, none near", "agents: {d: {local: /b}}\nretention: {}\n", ":2:1: retention: unknown key; known are agents, jobs", true},
	{"no agents", "jobs: {}\n", ":1:1: agents is missing: at least one place to keep backups at\n:1:7: jobs: is empty", true},
	{"empty agents", "agents: {}\n", ":1:9: agents: is empty", true},
	{"null agents", "agents:\n", ":1:8: agents: has no value: wanted is a mapping of keys and values; leave the key out where none is meant", true},
	{"twice", "agents: {d: {local: /b}}\nagents: {e: {local: /c}}\n", ":2:1: agents: is there twice, first in line 1", false},
	{"number as a key", "agents: {1: {local: /b}}\n", ":1:10: agents: a key here is a number; write it in quotes if it is text", false},
	{"list as a key", "agents: {[a]: {local: /b}}\n", ":1:10: agents: a key here is a list; write it in quotes if it is text", false},
	{"empty key", "agents: {\"\": {local: /b}}\n", ":1:10: agents: a key here is empty", true},
	{"long key", "agents: {d: {local: /b}}\n" + strings.Repeat("k", 200) + ": 1\n", ":2:1: " + `"` + strings.Repeat("k", 60) + "…\": unknown key; known are agents, jobs", true},
	{"later options", job + "    keep: {last: 3}\n    encrypt: {to: [age1]}\n", ":6:5: jobs.web1.keep: unknown key; known are allow_empty, copies, exclude, hooks, keep_pending, max_pause, paths, require, restore, tags, to\n:7:5: jobs.web1.encrypt: unknown key; known are allow_empty, copies, exclude, hooks, keep_pending, max_pause, paths, require, restore, tags, to", true},
	{"several", head + "  web1:\n    paths: [/var]\n    exlude: [a]\n    to: [dsk]\n    max-pause: 10m\n", ":5:5: jobs.web1.exlude: unknown key; is exclude meant?\n:6:10: jobs.web1.to[0]: no agent \"dsk\"; is disk meant?\n:7:5: jobs.web1.max-pause: unknown key; is max_pause meant?", true},

	{"columns", "agents: {d: {\"öä\": 1, local: 1}}\n", ":1:14: agents.d.\"öä\": unknown key; known are box, limit, local, retry, s3, stall, total\n:1:30: agents.d.local: is a number: wanted is text; write it in quotes", true},
	{"lines of another system", "agents: {d: {local: /b}}\r\njobs:\r\n  a: {}\r\n", ":3:6: jobs.a: to is missing\n:3:6: jobs.a: nothing to back up: give paths, or hooks that write into their folder", true},

	// Names.
	{"bad name", "agents: {../d: {local: /b}}\n", ":1:10: agents.\"../d\": \"../d\" is not a name: up to 64 of a-z A-Z 0-9 . _ -, with a letter or a digit first", true},
	{"case", "agents: {d: {local: /b}, D: {local: /c}}\n", ":1:26: agents.D: the names d and D differ in case alone", false},

	// Agents.
	{"no kind", "agents: {d: {limit: 1MiB}}\n", ":1:13: agents.d: says no kind of agent; known are box, local, s3", true},
	{"unknown kind", "agents: {d: {s33: {bucket: b}}}\n", ":1:14: agents.d.s33: unknown key; is s3 meant?", true},
	{"two kinds", "agents: {d: {local: /b, s3: {bucket: b}}}\n", ":1:25: agents.d: is both local and s3: it is one kind of agent", true},
	{"an agent that is text", "agents: {d: /b}\n", ":1:13: agents.d: is text: wanted is a mapping of keys and values", true},
	{"relative directory", "agents: {d: {local: ./b}}\n", ":1:21: agents.d.local: \"./b\" is not written in full: a path begins at the root, because a program may stand anywhere when it starts", true},
	{"home directory", "agents: {d: {local: ~/b}}\n", ":1:21: agents.d.local: \"~/b\": ~ is not expanded here; write the path in full", true},
	{"null directory", "agents: {d: {local: }}\n", ":1:21: agents.d.local: has no value: wanted is text; leave the key out where none is meant", true},
	{"unknown option", "agents: {d: {s3: {bukcet: b, bucket: b}}}\n", ":1:19: agents.d.s3.bukcet: unknown key; is bucket meant?", true},
	{"another's word", "agents: {d: {s3: acme}}\n", ":1:18: agents.d.s3: is text: wanted is a mapping of keys and values", true},
	{"missing option", "agents: {d: {s3: {prefix: b}}}\n", ":1:18: agents.d.s3: bucket is missing", true},
	{"same place", "agents: {d: {local: /b}, e: {local: /b/}}\n", ":1:37: agents.e.local: is the same place as the agent d: one copy would count as two", false},
	{"same bucket", "agents: {d: {s3: {bucket: b}}, e: {s3: {bucket: b}, limit: 1KiB}}\n", ":1:40: agents.e.s3: is the same place as the agent d: one copy would count as two", false},

	// Values by their type.
	{"number as text", theBox + "host: 2024}}}\n", ":2:11: agents.b.box.host: is a number: wanted is text; write it in quotes", true},
	{"bool as text", theBox + "args: [no, true]}}}\n", ":2:16: agents.b.box.args[1]: is true or false: wanted is text; write it in quotes", true},
	{"list as text", theBox + "host: [a]}}}\n", ":2:11: agents.b.box.host: is a list: wanted is text", true},
	{"empty text", theBox + "host: \"\"}}}\n", ":2:11: agents.b.box.host: is empty: leave the key out where none is meant", true},
	{"zero byte", theBox + "args: [\"a\\0b\"], labels: {\"\\0\": a}}}}\n", ":2:12: agents.b.box.args[0]: holds a zero byte\n:2:30: agents.b.box.labels: a name holds a zero byte", false},
	{"yes", theBox + "verify: yes}}}\n", ":2:13: agents.b.box.verify: \"yes\" is not true or false", true},
	{"text as bool", theBox + "strict: \"true\"}}}\n", ":2:13: agents.b.box.strict: \"true\", in quotes, is not true or false", true},
	{"zero", theBox + "port: 0}}}\n", ":2:11: agents.b.box.port: \"0\" is not a number from 1", true},
	{"octal", theBox + "port: 022}}}\n", ":2:11: agents.b.box.port: \"022\" is not a number from 1", false},
	{"large number", theBox + "port: 99999999999999999999}}}\n", ":2:11: agents.b.box.port: \"99999999999999999999\" is not a number from 1", false},
	{"fraction", theBox + "port: 1.5}}}\n", ":2:11: agents.b.box.port: \"1.5\" is not a number from 1", true},
	{"null number", theBox + "port: }}}\n", ":2:11: agents.b.box.port: has no value: wanted is a number from 1; leave the key out where none is meant", true},
	{"decimal size", theBox + "part_size: 32MB}}}\n", ":2:16: agents.b.box.part_size: \"32MB\" is not a size such as 32MiB", true},
	{"zero size", theBox + "part_size: 0}}}\n", ":2:16: agents.b.box.part_size: \"0\" is not a size such as 32MiB", true},
	{"large size", theBox + "part_size: 9999999TiB}}}\n", ":2:16: agents.b.box.part_size: \"9999999TiB\" is not a size such as 32MiB", false},
	{"time without unit", theBox + "keep_alive: 10}}}\n", ":2:17: agents.b.box.keep_alive: \"10\" is not a time such as 10m, 1h30m or 30d", true},
	{"time in words", theBox + "keep_alive: 10 min}}}\n", ":2:17: agents.b.box.keep_alive: \"10 min\" is not a time such as 10m, 1h30m or 30d", true},
	{"no time", theBox + "keep_alive: 0m0s}}}\n", ":2:17: agents.b.box.keep_alive: \"0m0s\" is not a time such as 10m, 1h30m or 30d", true},
	{"time before", theBox + "keep_alive: -1m}}}\n", ":2:17: agents.b.box.keep_alive: \"-1m\" is not a time such as 10m, 1h30m or 30d", true},
	{"long time", theBox + "keep_alive: 200000d}}}\n", ":2:17: agents.b.box.keep_alive: \"200000d\" is not a time such as 10m, 1h30m or 30d", false},
	{"text as list", theBox + "args: pg_dump -Fc}}}\n", ":2:11: agents.b.box.args: is text: wanted is a list, such as [one, two]", true},
	{"mapping as list", theBox + "args: {a: b}}}}\n", ":2:11: agents.b.box.args: is a mapping: wanted is a list, such as [one, two]", true},
	{"empty list", theBox + "args: []}}}\n", ":2:11: agents.b.box.args: is empty: leave the key out where none is meant", true},
	{"null in a list", theBox + "args: [a, ~]}}}\n", ":2:15: agents.b.box.args[1]: has no value: wanted is text; leave the key out where none is meant", true},
	{"twice in a set", theBox + "known_hosts: [a, b, a]}}}\n", ":2:25: agents.b.box.known_hosts[2]: \"a\" is there twice, first in line 2", true},
	{"empty mapping", theBox + "labels: {}}}}\n", ":2:13: agents.b.box.labels: is empty: leave the key out where none is meant", true},
	{"list as mapping", theBox + "labels: [a]}}}\n", ":2:13: agents.b.box.labels: is a list: wanted is a mapping of keys and values", true},
	{"number in a mapping", theBox + "labels: {a: 1}}}}\n", ":2:17: agents.b.box.labels.a: is a number: wanted is text; write it in quotes", true},
	{"number as a variable", theBox + "vars: {a: 1}}}}\n", ":2:15: agents.b.box.vars.a: is a number: wanted is text; write it in quotes", true},
	{"list as a variable", theBox + "vars: {a: [b]}}}}\n", ":2:15: agents.b.box.vars.a: is a list: wanted is text", true},
	{"below", theBox + "tls: {max_version: \"1\"}}}}\n", ":2:11: agents.b.box.tls.max_version: unknown key; is min_version meant?", true},
	{"no option", theBox + "internal: a}}}\n", ":2:5: agents.b.box.internal: unknown key; known are args, dir, host, keep_alive, key, known_hosts, labels, part_size, port, strict, tls, tokens, vars, verify", true},

	// Jobs.
	{"no jobs", "agents: {d: {local: /b}}\njobs: {}\n", ":2:7: jobs: is empty", true},
	{"nothing to back up", head + "  web1: {to: [disk]}\n", ":3:9: jobs.web1: nothing to back up: give paths, or hooks that write into their folder", true},
	{"nowhere to go", head + "  web1: {paths: [/var]}\n", ":3:9: jobs.web1: to is missing", true},
	{"null job", head + "  web1:\n", ":3:8: jobs.web1: has no value: wanted is a mapping of keys and values; leave the key out where none is meant", true},
	{"relative path", head + "  web1: {paths: [data], to: [disk]}\n", ":3:18: jobs.web1.paths[0]: \"data\" is not written in full: a path begins at the root, because a program may stand anywhere when it starts", true},
	{"same path", head + "  web1: {paths: [/var, /var/], to: [disk]}\n", ":3:24: jobs.web1.paths[1]: \"/var/\" is there twice, first in line 3", false},
	{"path in an agent", head + "  web1: {paths: [/srv, /srv/b/c], to: [far, disk]}\n", ":3:24: jobs.web1.paths[1]: lies in the agent disk, which is left out of the backup", false},
	{"unknown agent", head + "  web1: {paths: [/var], to: [disk, fra, cloud]}\n", ":3:36: jobs.web1.to[1]: no agent \"fra\"; is far meant?\n:3:41: jobs.web1.to[2]: no agent \"cloud\"; known are disk, far", false},
	{"require", job + "    require: [far]\n", ":6:15: jobs.web1.require[0]: \"far\" is none of to; known are disk", false},
	{"copies", job + "    copies: 2\n", ":6:13: jobs.web1.copies: 2 copies are asked for, and to names 1", false},
	{"no copies", job + "    copies: 0\n", ":6:13: jobs.web1.copies: \"0\" is not a number from 1", true},
	{"odd pattern", job + "    exclude: [\"*.tmp\", \"[\", \"a/../b\"]\n", ":6:24: jobs.web1.exclude[1]: exclude \"[\": \"[\" is no pattern of a name\n:6:29: jobs.web1.exclude[2]: exclude \"a/../b\": \"..\" is no pattern of a name", false},
	{"empty restore", job + "    restore: {hooks: []}\n", ":6:22: jobs.web1.restore.hooks: is empty: leave the key out where none is meant", true},

	// Hooks.
	{"hooks by name", job + "    hooks: {database: {}}\n", ":6:12: jobs.web1.hooks: is a mapping: wanted is a list, such as [one, two]", true},
	{"no name", job + "    hooks:\n      - command: {pre: [a]}\n", ":7:9: jobs.web1.hooks[0]: name is missing", true},
	{"no kind of hook", job + "    hooks:\n      - name: a\n", ":7:9: jobs.web1.hooks[0]: says no kind of hook; known are command", true},
	{"shell", job + "    hooks:\n      - {name: a, command: pg_dump app}\n", ":7:28: jobs.web1.hooks[0].command: is text: wanted is a mapping of keys and values", true},
	{"typo", job + "    hooks:\n      - {name: a, comand: {pre: [a]}}\n", ":7:19: jobs.web1.hooks[0].comand: unknown key; is command meant?", true},
	{"option of a hook", job + "    hooks:\n      - {name: a, command: {pre: [a], prost: [b]}}\n", ":7:39: jobs.web1.hooks[0].command.prost: unknown key; is post meant?", true},
	{"bad name of a hook", job + "    hooks:\n      - {name: .., command: {pre: [a]}}\n", ":7:16: jobs.web1.hooks[0].name: \"..\" is not a name: up to 64 of a-z A-Z 0-9 . _ -, with a letter or a digit first", true},
	{"hook twice", job + "    hooks:\n      - {name: a, command: {pre: [a]}}\n      - {name: a, command: {pre: [b]}}\n", ":8:16: jobs.web1.hooks[1].name: the name a is there twice", false},
	{"hook twice in restore", job + "    restore:\n      hooks:\n      - {name: a, command: {pre: [a]}}\n      - {name: A, command: {pre: [b]}}\n", ":9:16: jobs.web1.restore.hooks[1].name: the names a and A differ in case alone", false},
	{"timeout", job + "    hooks:\n      - {name: a, command: {pre: [a]}, timeout: 10}\n", ":7:49: jobs.web1.hooks[0].timeout: \"10\" is not a time such as 10m, 1h30m or 30d", true},

	// Secrets, where what is written may be the secret.
	{"secret", theBox + "key: hunter2}}}\n", secretAt(":2:10", "key"), true},
	{"secret in quotes", theBox + "key: \"hunter2\"}}}\n", secretAt(":2:10", "key"), true},
	{"secret number", theBox + "key: 4711}}}\n", secretAt(":2:10", "key"), true},
	{"secret as a key", theBox + "key: {hunter2}}}}\n", secretAt(":2:10", "key"), true},
	{"secret in a list", theBox + "key: [hunter2]}}}\n", secretAt(":2:10", "key"), true},
	{"null secret", theBox + "key: }}}\n", secretAt(":2:10", "key"), true},
	{"two references", theBox + "key: {env: A, file: /a}}}}\n", secretAt(":2:10", "key"), true},
	{"plain token", theBox + "tokens: {t: hunter2}}}}\n", secretAt(":2:17", "tokens.t"), true},
	{"odd variable", theBox + "vars: {v: {enf: hunter2}}}}}\n", secretAt(":2:15", "vars.v"), true},
	{"expanded variable", theBox + "key: {env: $HUNTER2}}}}\n", ":2:16: agents.b.box.key.env: is not the name of a variable, which has letters, digits and _, and no $", true},
	{"relative file", theBox + "key: {file: hunter2}}}}\n", ":2:17: agents.b.box.key.file: is not the path of a file, written in full; ~ is not expanded here", true},
	{"command in words", theBox + "key: {command: pass hunter2}}}}\n", ":2:20: agents.b.box.key.command: is not a list of a program and its arguments, each a text: [PROGRAM, ARGUMENT]; numbers are written in quotes", true},
	{"no command", theBox + "key: {command: []}}}}\n", ":2:20: agents.b.box.key.command: is not a list of a program and its arguments, each a text: [PROGRAM, ARGUMENT]; numbers are written in quotes", true},
	{"no program", theBox + "key: {command: [\"\", hunter2]}}}}\n", ":2:20: agents.b.box.key.command: is not a list of a program and its arguments, each a text: [PROGRAM, ARGUMENT]; numbers are written in quotes", true},
	{"program here", theBox + "key: {command: [./hunter2]}}}}\n", ":2:20: agents.b.box.key.command: names a program by a path that is not written in full; ~ is not expanded here", false},
	{"number for a program", theBox + "key: {command: [a, 1]}}}}\n", ":2:20: agents.b.box.key.command: is not a list of a program and its arguments, each a text: [PROGRAM, ARGUMENT]; numbers are written in quotes", true},
	{"secret with a star", theBox + "key: *hunter2\n}}}\n", ":2:10: an alias of something that is not there; text that begins with * is written in quotes", false},
	{"secret with a bang", theBox + "key: !hunter2 hunter2}}}\n", ":2:10: tags are not read: leave it out; text that begins with ! is written in quotes", true},
	{"secret with an and", theBox + "key: &hunter2 hunter2}}}\n", ":2:10: anchors are not read: write it out; text that begins with & is written in quotes", true},
	{"secret with a percent", theBox + "key: %hunter2}}}\n", ":2:10: found character that cannot start any token, while scanning for the next token from line 2", false},
	{"secret with a colon", theBox + "key: hunter2: hunter2}}}\n", ":2:17: did not find expected ',' or '}', while parsing a flow mapping from line 1", false},
}

func secretAt(at, key string) string {
	return at + ": agents.b.box." + key + ": a secret is not written here but referred to: {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"
}

func TestErrors(t *testing.T) {
	for _, w := range wrongs {
		t.Run(w.name, func(t *testing.T) {
			f, err := kinds().Parse("offsite.yaml", []byte(w.yaml))
			es := config.Errors(nil)
			if !errors.As(err, &es) || f != nil || !errors.Is(err, core.ErrInvalid) || core.KindOf(err) != core.ErrInvalid {
				t.Fatalf("error %v, file %v", err, f)
			}
			if strings.Contains(strings.ToLower(err.Error()), "hunter2") {
				t.Errorf("repeats a secret: %v", err)
			}
			want := "offsite.yaml" + strings.ReplaceAll(w.want, "\n", "\noffsite.yaml")
			if err.Error() != want {
				t.Errorf("\n got %s\nwant %s", err, want)
			}
		})
	}
}
