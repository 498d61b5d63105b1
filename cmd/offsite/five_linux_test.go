package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/conformance/fault"
)

// everywhere is a host, and a server of every kind, by the name of its agent.
func everywhere(t *testing.T) (*host, map[string]remote) {
	t.Helper()
	h := &host{T: t, dir: memoryDir(t)}
	all := map[string]remote{}
	for _, r := range remotes {
		server := r.start(t)
		h.env = append(h.env, server.env...)
		all[r.name] = server
	}
	h.noise("source/big", 24<<20)
	h.write(h.at("source", "small"), []byte("a note"))
	return h, all
}

// TestLayoutIsOne stores a backup at every kind of place at once: all hold the same
// objects. Then a store is copied object by object from place to place, by clients that
// know nothing of backups, and restored from each.
func TestLayoutIsOne(t *testing.T) {
	h, servers := everywhere(t)
	raws := map[string]conformance.Raw{"local": conformance.Directory(h.at("copies"))}
	places := map[string]string{"local": h.at("copies", prefix)}
	for name, r := range servers {
		raws[name], places[name] = r.raw, r.place(r.address)
	}
	args := []string{"backup", "source"}
	for _, place := range places {
		args = append(args, "--to", place)
	}
	h.run(0, args...)
	want := h.everything(raws["local"], prefix)
	for name, raw := range raws {
		if got := h.everything(raw, prefix); !maps.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%s holds %q, a directory %q", name, slices.Collect(maps.Keys(got)), slices.Collect(maps.Keys(want)))
		}
	}
	names := slices.Sorted(maps.Keys(raws))
	for i, name := range names {
		from, to := raws[names[(i+len(names)-1)%len(names)]], raws[name]
		below := prefix
		if i > 0 {
			below = "copied"
		}
		for key, data := range h.everything(from, conformance.Namespace(below)) {
			if err := to.Put(t.Context(), "copied", key, data); err != nil {
				t.Fatalf("%s: %s: %v", name, key, err)
			}
		}
		place := strings.Replace(places[name], "/"+prefix, "/copied", 1)
		h.run(0, "restore", "latest", "restored-"+name, "--from", place, "--below", h.at("source"))
		h.same(h.at("source"), h.at("restored-"+name))
	}
}

// everything is what a place holds, by its keys.
func (h *host) everything(raw conformance.Raw, ns conformance.Namespace) map[string][]byte {
	h.Helper()
	keys, err := raw.List(h.Context(), ns)
	if err != nil {
		h.Fatal(err)
	}
	all := map[string][]byte{}
	for _, key := range keys {
		if all[key], err = raw.Get(h.Context(), ns, key); err != nil {
			h.Fatal(err)
		}
	}
	return all
}

// TestThreeOfFiveFail: one place is dead, one is full, and one stalls. The other two
// have the backup while the third still waits, and a recover sends the rest.
func TestThreeOfFiveFail(t *testing.T) {
	for _, of := range []struct{ dead, stalled string }{{"azure", "s3"}, {"gcs", "sftp"}, {"sftp", "azure"}} {
		t.Run(of.dead+" dead, "+of.stalled+" stalled", func(t *testing.T) { threeFail(t, of.dead, of.stalled) })
	}
}

func threeFail(t *testing.T, dead, stalled string) {
	h, servers := everywhere(t)
	waits := servers[stalled]
	proxy := h.proxy(waits)
	waits.address = proxy.Addr()
	servers[stalled] = waits
	room := h.mount("disk")
	room("8m")
	h.write(h.at("offsite.yaml"), h.fiveAgents(servers))
	large := func(q fault.Request) bool { return waits.opaque || q.Length > 1<<20 }
	rule := &fault.Rule{Match: large, Times: fault.Always, Fault: fault.StallUp(1 << 20)}
	proxy.Arm(rule)
	gone := servers[dead]
	gone.stop()

	want := map[string]string{"disk": "pending", "s3": "stored", "azure": "stored", "gcs": "stored", "sftp": "stored", dead: "pending"}
	p := &pair{host: h}
	run := p.begin("run", "app")
	p.until(run, "the copies of the other two", func() bool {
		for name, r := range servers {
			if name != dead && name != stalled && !r.listed() {
				return false
			}
		}
		return rule.Fired() > 0
	})
	select {
	case <-run.over:
		t.Fatalf("the run has not waited for what stalls:\n%s%s", run.out.Bytes(), run.errs.Bytes())
	default:
	}
	rule.Release()
	proxy.Arm()
	p.ended(run, 3)
	for agent, why := range want {
		if !strings.Contains(run.out.String(), "app: "+agent+": "+why) {
			t.Errorf("%s is not %s:\n%s", agent, why, run.out.String())
		}
	}
	room("64m")
	gone.address = gone.start()
	servers[dead] = gone
	h.write(h.at("offsite.yaml"), h.fiveAgents(servers))
	h.run(0, "recover")
	for name, r := range servers {
		if !r.listed() {
			t.Errorf("%s does not have the backup", name)
		}
	}
	h.run(0, "restore", "latest", "restored", "--from", h.at("disk"), "--below", h.at("source"))
	h.same(h.at("source"), h.at("restored"))
}

// listed says whether a server holds a commit mark.
func (r remote) listed() bool {
	return slices.ContainsFunc(r.objects(), func(key string) bool { return strings.Contains(key, "/meta/") })
}

// fiveAgents is a configuration of an agent of every kind, of which none gives up soon
// what stalls, and all what nobody answers.
func (h *host) fiveAgents(servers map[string]remote) []byte {
	h.Helper()
	sftp := servers["sftp"]
	key, err := os.ReadFile(sftp.settings.Key)
	if err != nil {
		h.Fatal(err)
	}
	h.write(h.at("key"), key)
	address, port, _ := strings.Cut(sftp.address, ":")
	const patience = "stall: 2m, retry: 5s"
	return fmt.Appendf(nil, `agents:
  disk: {local: %[1]s/disk}
  s3: {s3: {bucket: tests, prefix: app, region: us-east-1, endpoint: "http://%[2]s", part_size: 5MiB}, %[9]s}
  azure: {azure: {container: tests, prefix: app, endpoint: "http://%[3]s/devstoreaccount1"}, %[9]s}
  gcs: {gcs: {bucket: tests, prefix: app, endpoint: "http://%[4]s"}, %[9]s}
  sftp: {sftp: {host: %[5]s, port: %[6]s, user: %[7]s, dir: ~/app, key: {file: %[1]s/key}, host_key: "%[8]s"}, %[9]s}
jobs:
  app:
    paths: [%[1]s/source]
    to: [disk, s3, azure, gcs, sftp]
    copies: 2
`, h.dir, servers["s3"].address, servers["azure"].address, servers["gcs"].address, address, port, sftp.settings.User, sftp.settings.HostKey, patience)
}
