package main

import (
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/conformance/fault"
)

// resumeSize is how many MiB an upload that is killed has: OFFSITE_RESUME_MIB, or so
// many that it is killed among dozens of parts.
func resumeSize(t *testing.T, r remote) int64 {
	mib := int64(r.times(256))
	if s := os.Getenv("OFFSITE_RESUME_MIB"); s != "" {
		var err error
		if mib, err = strconv.ParseInt(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return mib << 20
}

// slack is what metadata, requests and lists take besides the archive.
const slack = 1 << 20

// TestResume kills an upload with SIGKILL at moments drawn by the bytes that the
// server holds. The backup is not listed, and the same command sends no more than
// what was in flight, also with nothing but the id to go on. Where there are requests
// to look at, that of the metadata is held, so that none is through before it is killed.
func TestResume(t *testing.T) {
	each(t, func(h *host, r remote) {
		size := resumeSize(h.T, r)
		h.noise("file.bin", size)
		seed := rand.Uint64()
		h.Logf("seed %d", seed)
		draw := rand.New(rand.NewPCG(seed, 0))
		killed := 0
		for i := range r.times(10) {
			percent := 5 + draw.Int64N(91)
			u := h.upload(r, i%2 == 1)
			hold := &fault.Rule{Match: r.metadata, Fault: fault.StallUp(0)}
			if !r.opaque {
				u.proxy.Arm(hold)
			}
			u.kill(func() bool { return r.held() >= size*percent/100 || hold.Fired() > 0 })
			u.proxy.Arm()
			u.proxy.Cut()
			if u.again(fmt.Sprintf("killed with %d %% at the server", percent), size) {
				killed++
			}
		}
		if n := r.times(10); killed < n*2/3 {
			h.Errorf("%d of %d uploads were killed", killed, n)
		}
	})
}

// TestResumeBetweenCommits kills an upload when every part is there and the archive
// is not, and when the archive is there and the metadata is not.
func TestResumeBetweenCommits(t *testing.T) {
	each(t, func(h *host, r remote) {
		const size = 100 << 20
		h.noise("file.bin", size)
		for _, forgets := range []bool{false, true} {
			h.between("the last part and the commit", r, forgets, size, r.commit, func() bool { return r.held() >= size })
			h.between("archive and metadata", r, forgets, size, r.metadata, r.archived)
		}
	})
}

// between kills an upload at a request, which a proxy holds, or where it sees none as
// soon as the place looks so: that is tried until it is not too late.
func (h *host) between(when string, r remote, forgets bool, size int64, request func(fault.Request) bool, seen func() bool) {
	h.Helper()
	for range 20 {
		u := h.upload(r, forgets)
		if request != nil {
			rule := &fault.Rule{Match: request, Fault: fault.StallUp(0)}
			u.proxy.Arm(rule)
			seen = func() bool { return rule.Fired() > 0 }
		}
		u.kill(seen)
		u.proxy.Arm()
		u.proxy.Cut()
		before := u.proxy.Counts().Up
		whole := r.archived()
		if !u.again("killed between "+when, size) {
			continue
		}
		most := int64(slack)
		if request == nil && !whole { // bytes are seen before they are a part
			most += r.inFlight
		}
		if sent := u.proxy.Counts().Up - before; sent > most {
			h.Errorf("killed between %s: %d bytes were sent again", when, sent)
		}
		return
	}
	h.Fatalf("not killed between %s", when)
}

// An uploading is one upload of file.bin to a place behind a proxy of its own.
type uploading struct {
	*host
	remote  remote
	proxy   *fault.Proxy
	args    []string
	forgets bool // whether the state folder is lost with the process
}

func (h *host) upload(r remote, forgets bool) *uploading {
	h.Helper()
	u := &uploading{host: h, remote: r, proxy: h.proxy(r), forgets: forgets}
	u.args = []string{"upload", "file.bin", "--to", r.place(u.proxy.Addr()) + r.small}
	if forgets {
		u.args = append(u.args, "--id", "by-hand-"+strings.ToLower(crand.Text())) // one that was deleted stays so
	}
	return u
}

// kill starts the upload and kills it when the moment has come, or lets it end before.
func (u *uploading) kill(now func() bool) {
	u.Helper()
	u.killWhenOf(u.command(u.args...), now)
}

// again looks that nothing is listed, gives the same command again, and looks at
// what it sent, what is stored now, and what is left. It says false of an upload that
// was through before it was killed, which is only taken from the place.
func (u *uploading) again(when string, size int64) bool {
	u.Helper()
	direct := u.remote.place(u.remote.address)
	if ids := u.ids(direct); len(ids) > 0 {
		if !u.remote.opaque {
			u.Fatalf("%s: %q are listed, of which no metadata was let through", when, ids)
		}
		u.fetch(when, ids[0]) // or it is a lie
		u.clear(ids[0])
		return false
	}
	if u.forgets {
		u.forget()
	}
	u.run(0, u.args...)
	if sent := u.proxy.Counts().Up; sent > size+u.remote.inFlight+slack {
		u.Errorf("%s: %d bytes were sent in all, of %d", when, sent, size)
	}
	ids := u.ids(direct)
	if len(ids) != 1 {
		u.Fatalf("%s: %q are listed", when, ids)
	}
	u.fetch(when, ids[0])
	if left := u.remote.left(); len(left) > 0 {
		u.Errorf("%s: left: %q", when, left)
	}
	if left := files(u.at("state", "offsite", "runs")); len(left) > 0 {
		u.Errorf("%s: left in the state folder: %q", when, left)
	}
	u.clear(ids[0])
	if u.Failed() {
		u.FailNow()
	}
	return true
}

// clear takes the backup from the place, and the state folder with it.
func (u *uploading) clear(id string) {
	u.Helper()
	u.run(0, "delete", id, "--yes", "--from", u.remote.place(u.remote.address))
	u.remote.purge()
	u.forget()
}

// fetch compares what is stored with the file.
func (u *uploading) fetch(when, id string) {
	u.Helper()
	u.run(0, "download", id, "fetched", "--from", u.remote.place(u.remote.address))
	if out, err := exec.Command("cmp", u.at("file.bin"), u.at("fetched")).CombinedOutput(); err != nil {
		u.Fatalf("%s: %s", when, out)
	}
	if err := os.Remove(u.at("fetched")); err != nil {
		u.Fatal(err)
	}
}

// noise writes a file of bytes that nothing packs, which differ everywhere.
func (h *host) noise(name string, size int64) {
	h.Helper()
	h.write(h.at(name), nil)
	f, err := os.OpenFile(h.at(name), os.O_WRONLY, 0)
	if err != nil {
		h.Fatal(err)
	}
	random, block := rand.NewChaCha8([32]byte{1}), make([]byte, 1<<20)
	for n := int64(0); n < size; n += int64(len(block)) {
		random.Read(block)
		if _, err := f.Write(block[:min(size-n, int64(len(block)))]); err != nil {
			h.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		h.Fatal(err)
	}
}

// TestDownloadResumes kills a download half-way: the same command fetches what is
// missing.
func TestDownloadResumes(t *testing.T) {
	each(t, func(h *host, r remote) {
		size := int64(r.times(256)) << 20
		h.noise("file.bin", size)
		h.run(0, "upload", "file.bin", "--to", r.place(r.address))
		id := h.ids(r.place(r.address))[0]
		p := h.proxy(r)
		args := []string{"download", id, "fetched", "--from", r.place(p.Addr())}
		if !h.killWhenOf(h.command(args...), func() bool { return p.Counts().Down >= size/2 }) {
			h.Fatal("not killed")
		}
		if _, err := os.Stat(h.at("fetched")); err == nil {
			h.Error("half a download has the name of a whole one")
		}
		h.run(0, args...)
		if got := p.Counts().Down; got > size+5*16<<20+slack { // four chunks of 16 MiB were on their way
			h.Errorf("%d bytes were fetched in all, of %d", got, size)
		}
		if out, err := exec.Command("cmp", h.at("file.bin"), h.at("fetched")).CombinedOutput(); err != nil {
			h.Errorf("%s", out)
		}
		if left := slices.DeleteFunc(files(h.dir), func(name string) bool { return name[0] != '.' }); len(left) > 0 {
			h.Errorf("left: %q", left)
		}
	})
}
