package azure

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// elsewhere is an endpoint that nobody has.
const elsewhere = "endpoint=https://acme.blob.example.net"

// granted is a server that grants everything.
var granted = prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
	status := http.StatusCreated
	if q.Method == http.MethodHead {
		status = http.StatusOK
	}
	return prove.Answer(q, status, http.Header{"Etag": {`"v1"`}, "X-Ms-Immutability-Policy-Until-Date": {"Sat, 01 Jan 2050 00:00:00 GMT"}}, ""), nil
})

// requests are the heads of what a store asks when it stores an object in one request
// and when it makes one of blocks, by what they do.
func requests(t *testing.T, c *Config, key string) map[string]http.Header {
	t.Helper()
	rec := &prove.Recorder{Next: granted}
	s := driver(t, c, core.Env{Transport: rec, Now: func() time.Time { return time.Unix(1e9, 0) }})
	if _, err := prove.Put(t.Context(), s, key, []byte("body")); err != nil {
		t.Fatal(err)
	}
	m, parts := staged(t, s, key, token, 1, 1000)
	if _, err := m.Commit(t.Context(), parts); err != nil {
		t.Fatal(err)
	}
	all := map[string]http.Header{}
	for _, q := range rec.Seen() {
		if q.Method == http.MethodPut {
			h := http.Header{} // the library has names of its own case
			for name, values := range q.Header {
				h[http.CanonicalHeaderKey(name)] = values
			}
			all["PUT "+q.URL.Query().Get("comp")] = h
		}
	}
	if len(all) != 3 {
		t.Fatalf("%d kinds of requests, want a blob, a block and a list of blocks", len(all))
	}
	return all
}

// Each option is seen in the requests that leave the client, and only there.
func TestOptionsInRequests(t *testing.T) {
	const archive, meta, gone, hold = "data/x.tar.zst", "meta/x.json", "gone/x", "hold/x"
	tier, scope := []string{"X-Ms-Access-Tier"}, []string{"X-Ms-Encryption-Scope"}
	lock := []string{"X-Ms-Immutability-Policy-Mode", "X-Ms-Immutability-Policy-Until-Date"}
	for _, test := range []struct {
		options, key string
		headers      []string
		want, block  string // of a blob and a list of blocks; of a block
	}{
		{"", archive, append(append(tier, scope...), lock...), "   ", "   "},
		{"tier=Cool", archive, tier, "Cool", ""},
		{"tier=Archive", meta, tier, "", ""},
		{"tier=Archive", gone, tier, "", ""},
		{"encryption_scope=acme", archive, scope, "acme", "acme"},
		{"encryption_scope=acme", meta, scope, "acme", "acme"},
		{"lock=unlocked&lock_for=1d", archive, lock, "unlocked Mon, 10 Sep 2001 01:46:40 GMT", " "},
		{"lock=locked&lock_for=1h", meta, lock, "locked Sun, 09 Sep 2001 02:46:40 GMT", " "},
		{"lock=locked&lock_for=1h", "sig/x.minisig", lock, "locked Sun, 09 Sep 2001 02:46:40 GMT", " "},
		{"lock=locked&lock_for=1h", gone, lock, " ", " "},
		{"lock=locked&lock_for=1h", hold, lock, " ", " "},
	} {
		for what, h := range requests(t, configured(t, "backups", elsewhere+"&"+test.options), test.key) {
			var got []string
			for _, name := range test.headers {
				got = append(got, h.Get(name))
			}
			want := test.want
			if what == "PUT block" {
				want = test.block
			}
			if got := strings.Join(got, " "); !strings.EqualFold(got, want) {
				t.Errorf("%s of %s with %q has %q, want %q", what, test.key, test.options, got, want)
			}
		}
	}
}

// What is created is created once, and checked by the server. A block's name has the
// token, the index and the checksum; all are of one length.
func TestChecksumsInRequests(t *testing.T) {
	all := requests(t, configured(t, "backups", elsewhere), "data/x.tar.zst")
	for what, body := range map[string][]byte{"PUT ": []byte("body"), "PUT block": prove.Noise(1000)} {
		want := base64.StdEncoding.EncodeToString(binary.LittleEndian.AppendUint64(nil, uint64(prove.Sum(body))))
		if got := all[what].Get("X-Ms-Content-Crc64"); got != want {
			t.Errorf("%s sends %q, want %q", what, got, want)
		}
	}
	for _, what := range []string{"PUT ", "PUT blocklist"} {
		if got := all[what].Get("If-None-Match"); got != "*" {
			t.Errorf("%s has If-None-Match %q", what, got)
		}
	}
	if got := all["PUT blocklist"].Get("X-Ms-Meta-Offsite_token"); got != token {
		t.Errorf("the token is %q", got)
	}
	m := &multipart{token: token}
	for _, p := range []object.Part{{}, {Index: 49_999, CRC64: 1<<64 - 1}} {
		id := m.id(p)
		if b, ok := parse(id); !ok || b.token != token || b.Index != p.Index || b.CRC64 != p.CRC64 || len(id) != len(m.id(object.Part{})) {
			t.Errorf("%+v is the block %q, which is %+v", p, id, b)
		}
	}
}

// Blocks of others are passed over.
func TestOthersBlocks(t *testing.T) {
	for _, id := range []string{
		"", "%", "AAAA", base64.StdEncoding.EncodeToString([]byte("0123456789abcdef-00000-000000000000000g")),
		base64.StdEncoding.EncodeToString([]byte("0123456789abcdef-0000x-0000000000000000")),
		base64.StdEncoding.EncodeToString([]byte("0123456789abcdef-00000-0000000000000000-")),
		base64.StdEncoding.EncodeToString([]byte("0123456789-abcdef-0000-0000000000000000")),
		base64.StdEncoding.EncodeToString([]byte("0123456789abcdef--0001-0000000000000000")),
		base64.StdEncoding.EncodeToString([]byte("0123456789abcdef-+0001-0000000000000000")),
	} {
		if b, ok := parse(id); ok {
			t.Errorf("%q is taken for %+v", id, b)
		}
	}
}

// A request goes where the options and the environment say, with their credentials.
func TestWhereRequestsGo(t *testing.T) {
	const text = "AccountName=named;AccountKey=" + emulator.AzuriteKey + ";DefaultEndpointsProtocol=https;EndpointSuffix=core.example.net"
	for name, test := range map[string]struct {
		env     map[string]string
		text    string // connection string of the configuration
		options string
		want    string // address and who signs
	}{
		"account":                           {map[string]string{"AZURE_STORAGE_KEY": emulator.AzuriteKey}, "", "account=acme", "https://acme.blob.core.windows.net/backups/app%2Fmeta%2Fx SharedKey acme"},
		"account by env":                    {map[string]string{"AZURE_STORAGE_KEY": emulator.AzuriteKey, "AZURE_STORAGE_ACCOUNT": "acme"}, "", "", "https://acme.blob.core.windows.net/backups/app%2Fmeta%2Fx SharedKey acme"},
		"endpoint":                          {map[string]string{"AZURE_STORAGE_KEY": emulator.AzuriteKey}, "", elsewhere, "https://acme.blob.example.net/backups/app%2Fmeta%2Fx SharedKey acme"},
		"emulator":                          {map[string]string{"AZURE_STORAGE_KEY": emulator.AzuriteKey}, "", "endpoint=http://h:1/dev", "http://h:1/dev/backups/app%2Fmeta%2Fx SharedKey dev"},
		"connection string":                 {map[string]string{"AZURE_STORAGE_CONNECTION_STRING": text}, "", "", "https://named.blob.core.example.net/backups/app%2Fmeta%2Fx SharedKey named"},
		"SAS":                               {map[string]string{"AZURE_STORAGE_SAS_TOKEN": "?sp=r&sig=canary"}, "", "account=acme", "https://acme.blob.core.windows.net/backups/app%2Fmeta%2Fx?sig=canary&sp=r "},
		"connection string of the account":  {map[string]string{"AZURE_STORAGE_CONNECTION_STRING": text}, "", "account=named", "https://named.blob.core.example.net/backups/app%2Fmeta%2Fx SharedKey named"},
		"connection string of another":      {map[string]string{"AZURE_STORAGE_CONNECTION_STRING": text, "AZURE_STORAGE_KEY": emulator.AzuriteKey}, "", "account=acme", "https://acme.blob.core.windows.net/backups/app%2Fmeta%2Fx SharedKey acme"},
		"connection string beside endpoint": {map[string]string{"AZURE_STORAGE_CONNECTION_STRING": text, "AZURE_STORAGE_KEY": emulator.AzuriteKey}, "", elsewhere, "https://acme.blob.example.net/backups/app%2Fmeta%2Fx SharedKey acme"},
		"configured connection string":      {map[string]string{"AZURE_STORAGE_KEY": "other", "AZURE_STORAGE_ACCOUNT": "other"}, text + ";", "account=named", "https://named.blob.core.example.net/backups/app%2Fmeta%2Fx SharedKey named"},
		"connection string of a SAS":        {nil, "BlobEndpoint=https://named.blob.example.net/;SharedAccessSignature=sp=r&sig=canary", "account=named", "https://named.blob.example.net/backups/app%2Fmeta%2Fx?sig=canary&sp=r "},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			c := configured(t, "backups", test.options)
			c.Key, c.ConnectionString = core.Secret{}, core.NewSecret(test.text)
			rec := &prove.Recorder{Next: denied}
			_, err := driver(t, c, core.Env{Transport: rec}).Stat(t.Context(), "meta/x")
			prove.Kind(t, "a denied request", err, core.ErrDenied)
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("%v has the SAS", err)
			}
			for _, q := range rec.Seen() {
				signed, _, _ := strings.Cut(q.Header.Get("Authorization"), ":")
				q.URL.RawQuery = q.URL.Query().Encode()
				if got := q.URL.String() + " " + signed; got != test.want {
					t.Errorf("asked %s, want %s", got, test.want)
				}
			}
			if len(rec.Seen()) != 1 {
				t.Errorf("%d requests", len(rec.Seen()))
			}
		})
	}
}

// Missing accounts and credentials that no server would take are errors that say so,
// at once, and repeat none.
func TestNothingToSignWith(t *testing.T) {
	text := core.NewSecret("AccountName=named;AccountKey=" + emulator.AzuriteKey)
	for name, test := range map[string]struct {
		c    *Config
		kind core.ErrorKind
		want string
	}{
		"no account":                  {configured(t, "backups", ""), core.ErrInvalid, "AZURE_STORAGE_ACCOUNT"},
		"a key of no base64":          {&Config{Container: "backups", Account: "acme", Key: core.NewSecret("canary!")}, core.ErrInvalid, "no base64"},
		"no connection string":        {&Config{Container: "backups", ConnectionString: core.NewSecret("canary=")}, core.ErrInvalid, "not understood"},
		"another's connection string": {&Config{Container: "backups", Account: "acme", ConnectionString: text}, core.ErrInvalid, `of the account "named", and account says "acme"`},
		"a string and an endpoint":    {&Config{Container: "backups", Endpoint: "https://acme.example.net", ConnectionString: text}, core.ErrInvalid, "leave out endpoint"},
		"a string and a SAS":          {&Config{Container: "backups", SAS: core.NewSecret("sig=canary"), ConnectionString: text}, core.ErrInvalid, "leave out endpoint, key and sas"},
		"a string of no URL":          {&Config{Container: "backups", ConnectionString: core.NewSecret("AccountName=a/canary;AccountKey=canary")}, core.ErrInvalid, "not understood"},
		"a SAS in the clear":          {&Config{Container: "backups", Endpoint: "http://acme.example.net", SAS: core.NewSecret("sig=canary")}, core.ErrInvalid, "a SAS is not sent over http"},
		"a string's SAS in the clear": {&Config{Container: "backups", ConnectionString: core.NewSecret("BlobEndpoint=http://acme.example.net;SharedAccessSignature=sig=canary")}, core.ErrInvalid, "a SAS is not sent over http"},
		"a token in the clear":        {&Config{Container: "backups", Endpoint: "http://acme.example.net"}, core.ErrInvalid, "not sent over http"},
		"a bundle not there":          {&Config{Container: "backups", Account: "acme", CABundle: "/nowhere/ca.pem"}, core.ErrInvalid, "/nowhere/ca.pem"},
		"a bundle with nothing":       {&Config{Container: "backups", Account: "acme", CABundle: "/dev/null"}, core.ErrInvalid, "/dev/null"},
	} {
		_, err := test.c.Open(t.Context(), core.Env{})
		prove.Kind(t, name, err, test.kind)
		if err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: %v; want %q", name, err, test.want)
		}
	}
}

// Limits are what an upload goes by.
func TestLimits(t *testing.T) {
	for options, want := range map[string]string{
		"":                              `{"PartSize":16777216,"MaxPart":4194304000,"MaxParts":50000,"Workers":8}`,
		"part_size=1MiB&concurrency=64": `{"PartSize":1048576,"MaxPart":4194304000,"MaxParts":50000,"Workers":64}`,
	} {
		got, err := json.Marshal(driver(t, configured(t, "backups", elsewhere+"&"+options), core.Env{}).Limits())
		if err != nil || string(got) != want {
			t.Errorf("%q: %s, %v; want %s", options, got, err, want)
		}
	}
}
