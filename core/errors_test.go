package core_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

var kinds = []core.ErrorKind{
	core.ErrNotFound, core.ErrExists, core.ErrDenied, core.ErrUnauthenticated, core.ErrThrottled, core.ErrNoSpace,
	core.ErrNoPlace, core.ErrDamaged, core.ErrChanged, core.ErrLocked, core.ErrClock, core.ErrUnavailable,
	core.ErrUnsupported, core.ErrInvalid, core.ErrClosed,
}

func TestKindsAnswerErrorsIs(t *testing.T) {
	std := map[core.ErrorKind]error{
		core.ErrNotFound: fs.ErrNotExist, core.ErrExists: fs.ErrExist,
		core.ErrDenied: fs.ErrPermission, core.ErrClosed: fs.ErrClosed,
	}
	cause := errors.New("cause")
	for _, kind := range kinds {
		forms := map[string]error{
			"kind":    kind,
			"error":   &core.Error{Kind: kind, Err: cause},
			"Errorf":  core.Errorf(kind, "why: %w", cause),
			"wrapped": fmt.Errorf("more: %w", &core.Error{Kind: kind, Err: cause}),
			"joined":  errors.Join(errors.New("else"), &core.Error{Kind: kind, Err: cause}),
			"nested":  &core.Error{Kind: kind, Err: fmt.Errorf("more: %w", cause)},
		}
		for form, err := range forms {
			for _, other := range kinds {
				if errors.Is(err, other) != (other == kind) {
					t.Errorf("%s of %v: errors.Is(err, %v) = %v", form, kind, other, other != kind)
				}
			}
			for _, other := range []error{fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrClosed, fs.ErrInvalid} {
				if errors.Is(err, other) != (std[kind] == other) {
					t.Errorf("%s of %v: errors.Is(err, %v) = %v", form, kind, other, std[kind] != other)
				}
			}
			if got := core.KindOf(err); got != kind {
				t.Errorf("KindOf(%s of %v) = %v", form, kind, got)
			}
			if form != "kind" && !errors.Is(err, cause) {
				t.Errorf("%s of %v hides its cause", form, kind)
			}
		}
		if temporary := kind == core.ErrThrottled || kind == core.ErrUnavailable; kind.Temporary() != temporary {
			t.Errorf("%v: Temporary() = %v", kind, !temporary)
		}
	}
}

func TestKindOf(t *testing.T) {
	tests := map[string]struct {
		err  error
		want core.ErrorKind
	}{
		"nil":          {nil, ""},
		"context":      {context.Canceled, ""},
		"system":       {fs.ErrNotExist, ""},
		"outermost":    {&core.Error{Kind: core.ErrDamaged, Err: core.Errorf(core.ErrInvalid, "x")}, core.ErrDamaged},
		"first joined": {errors.Join(core.Errorf(core.ErrClosed, "x"), core.Errorf(core.ErrInvalid, "y")), core.ErrClosed},
		"cause's":      {&fs.PathError{Op: "open", Path: "p", Err: core.ErrNoSpace}, core.ErrNoSpace},
	}
	for name, test := range tests {
		if got := core.KindOf(test.err); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("cause")
	tests := []struct {
		err  error
		want string
	}{
		{&core.Error{Kind: core.ErrNotFound}, "not found"},
		{&core.Error{Kind: core.ErrNotFound, Err: core.ErrNotFound}, "not found"},
		{core.Errorf(core.ErrInvalid, "too long"), "invalid: too long"},
		{core.Errorf(core.ErrInvalid, "too long: %w", cause), "invalid: too long: cause"},
		{core.Errorf(core.ErrInvalid, "%w", core.ErrClosed), "invalid: closed"},
		{&core.Error{Kind: core.ErrDenied, Agent: "s3:b", Op: "upload", ID: "a", Detail: "key", Code: "AccessDenied", RequestID: "7", Err: cause},
			"s3:b: upload: a: denied: key: AccessDenied (request 7): cause"},
		{&core.Error{Kind: core.ErrDenied, Code: "AccessDenied"}, "denied: AccessDenied"},
		{&core.Error{Kind: core.ErrDenied, RequestID: "7"}, "denied: request 7"},
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

type coded struct{ code int }

func (coded) Error() string { return "coded" }

func TestErrorsAs(t *testing.T) {
	e := &core.Error{Kind: core.ErrThrottled, RetryAfter: time.Second, Err: fmt.Errorf("sdk: %w", coded{429})}
	var (
		got  *core.Error
		kind core.ErrorKind
		sdk  coded
	)
	err := fmt.Errorf("more: %w", e)
	if !errors.As(err, &got) || got.RetryAfter != time.Second {
		t.Errorf("*core.Error: %v", got)
	}
	if !errors.As(err, &kind) || kind != core.ErrThrottled {
		t.Errorf("core.ErrorKind: %v", kind)
	}
	if !errors.As(err, &sdk) || sdk.code != 429 {
		t.Errorf("the cause: %v", sdk)
	}
	text := core.Errorf(core.ErrThrottled, "asked: %w", coded{429})
	if sdk = (coded{}); !errors.As(text, &sdk) || sdk.code != 429 || strings.Count(text.Error(), "coded") != 1 {
		t.Errorf("%v of %v", sdk, text)
	}
}
