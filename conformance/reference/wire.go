package reference

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/core"
)

// wire is how the reference agent reaches a place that is served at an address.
func wire(server string) *conformance.Wire {
	return &conformance.Wire{
		Server: server,
		Open: func(_ context.Context, ns conformance.Namespace, env core.Env, address string) (core.Agent, error) {
			return open(over("http", address, nil), ns, env, noFault)
		},
		OpenTLS: func(_ context.Context, ns conformance.Namespace, env core.Env, address string, roots []byte) (core.Agent, error) {
			return open(over("https", address, roots), ns, env, noFault)
		},
		Page: func(q fault.Request) bool { return asksFor(q, "op") == string(list) },
		BadPages: map[conformance.BadPage]func(fault.Request, []byte) []byte{
			conformance.CutPage:      page(func(_ fault.Request, a *answer) { a.Next = "" }),
			conformance.RepeatedPage: page(func(q fault.Request, a *answer) { a.Next = asksFor(q, "after") }),
			// The key that follows the mark, if there were one.
			conformance.EmptyPage:  page(func(q fault.Request, a *answer) { a.Keys, a.Next = nil, asksFor(q, "after")+"\x00" }),
			conformance.BrokenPage: func(_ fault.Request, body []byte) []byte { return body[:len(body)/2] },
		},
		Answers: answers(),
	}
}

// answers are what the server of a place says to what it does not grant.
func answers() []conformance.Answer {
	var all []conformance.Answer
	for _, kind := range []core.ErrorKind{
		core.ErrNoPlace, core.ErrDenied, core.ErrUnauthenticated, core.ErrThrottled, core.ErrNoSpace, core.ErrClock, core.ErrUnavailable,
	} {
		all = append(all, saying(kind, statuses[kind]))
	}
	late := saying(core.ErrUnavailable, http.StatusOK)
	late.Only = func(q fault.Request) bool { return asksFor(q, "op") == string(commit) }
	return append(all, late)
}

func saying(kind core.ErrorKind, status int) conformance.Answer {
	text, _ := json.Marshal(answer{Error: kind}) // words
	return conformance.Answer{
		Kind: kind, Status: status, Body: string(text), Code: string(kind), RequestID: "R1",
		Header: http.Header{requestID: {"R1"}, "Content-Type": {"application/json"}},
	}
}

// asksFor is one word of the query of a request.
func asksFor(q fault.Request, word string) string {
	_, query, _ := strings.Cut(q.Target, "?")
	values, _ := url.ParseQuery(query) // what is none has no such word
	return values.Get(word)
}

// page changes what a page of a list says.
func page(change func(fault.Request, *answer)) func(fault.Request, []byte) []byte {
	return func(q fault.Request, body []byte) []byte {
		var a answer
		if json.Unmarshal(body, &a) != nil {
			return body
		}
		change(q, &a)
		body, _ = json.Marshal(a) // it was JSON before
		return body
	}
}
