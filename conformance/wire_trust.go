package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/core"
)

// Section J, its last part: who an agent talks to.
func wireTrust() []Case {
	const kinds = "They answer errors.Is with one of the kinds of this package, name agent, operation and id, keep the provider's code and request id, wrap their cause, and hold no secret."
	wire := []Means{MeansWire, MeansRaw}
	return []Case{
		{
			ID: "J11", Words: "redirect", Level: Short, Needs: wire, run: redirected, Clause: kinds,
			Why: "a redirect to another host took the credentials along",
		}, {
			ID: "J12", Words: "TLS", Level: Short, Needs: wire, run: untrusted, Clause: kinds,
			Why: "who does not look at certificates tells the password to whoever asks",
		},
	}
}

// redirected is sent to another host, where the same server would answer.
func redirected(t *trial) {
	ns := t.place()
	stored := t.stored(t.open(ns), 1000)
	t.did("each call, with every request redirected to another host")
	t.spread(len(calls), func(i int) {
		call, w, other := calls[i], t.wired(ns, hasty), t.proxied(fault.Options{})
		_, port, _ := strings.Cut(other.Addr(), ":")
		r := w.arm(&fault.Rule{Times: fault.Always, Fault: fault.Redirect("http://localhost:" + port)})
		err := t.ending(call, most(call, hasty), func(ctx context.Context) error { return t.call(w, ctx, call, t.about(call, stored)) })
		t.fired(r, "at "+call)
		for _, q := range other.Counts().Requests {
			if what := t.credential(q); what != "" {
				t.fail(call+": no credentials go to another host", "%s goes there", what)
			}
		}
		if err != nil && core.KindOf(err) == "" {
			t.fail(call+": an error with a kind", "%v", err)
		}
	})
	t.same(t.open(ns), stored)
}

// credential is what a request carries to show who it is from.
func (t *trial) credential(q fault.Request) string {
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie", "X-Amz-Security-Token"} {
		if q.Header.Get(name) != "" {
			return "the header " + name
		}
	}
	for _, word := range []string{"signature=", "sig="} {
		if strings.Contains(strings.ToLower(q.Target), word) {
			return "a signature in the query"
		}
	}
	for _, secret := range t.target.Secrets {
		if strings.Contains(q.Target+fmt.Sprint(q.Header), secret) {
			return "a secret"
		}
	}
	return ""
}

// untrusted shows an agent certificates that are no good, and one that is.
func untrusted(t *trial) {
	ns := t.place()
	stored := t.stored(t.open(ns), 1000)
	sound, err := fault.NewIdentity(fault.Sound, t.now())
	t.ok(err, "a certificate")
	a, _ := t.overTLS(ns, sound, sound.CA)
	t.did("a read, where the certificate is good")
	t.same(a, stored)
	stranger, err := fault.NewIdentity(fault.Sound, t.now())
	t.ok(err, "a certificate")
	t.rejects(ns, stored, "of a CA that is not trusted", sound, stranger.CA)
	for _, defect := range []fault.Defect{fault.Expired, fault.WrongHost, fault.SelfSigned} {
		shown, err := fault.NewIdentity(defect, t.now())
		t.ok(err, "a certificate")
		t.rejects(ns, stored, string(defect), shown, shown.CA)
	}
}

func (t *trial) overTLS(ns Namespace, shown fault.Identity, roots []byte) (core.Agent, *fault.Proxy) {
	p := t.proxied(fault.Options{TLS: shown.TLS})
	return t.opened(t.target.Wire.OpenTLS(t.ctx, ns, t.wiredEnv(hasty), p.Addr(), roots)), p
}

// rejects demands that nothing is asked of who shows such a certificate.
func (t *trial) rejects(ns Namespace, stored *source, what string, shown fault.Identity, roots []byte) {
	a, p := t.overTLS(ns, shown, roots)
	t.did("each call, where the certificate is %s", what)
	t.spread(len(calls), func(i int) {
		err := t.ending(calls[i], most(calls[i], hasty), func(ctx context.Context) error { return t.call(a, ctx, calls[i], t.about(calls[i], stored)) })
		if err == nil || core.KindOf(err) == "" || errors.Is(err, core.ErrNotFound) {
			t.fail(fmt.Sprintf("%s, where the certificate is %s: an error that says so", calls[i], what), "%v", err)
		}
	})
	if asked := p.Counts().Requests; len(asked) > 0 {
		t.fail("nothing is asked of who does not prove who it is", "%d requests", len(asked))
	}
}
