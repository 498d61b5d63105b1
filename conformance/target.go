package conformance

import (
	"context"
	"io/fs"
	"os/exec"
	"time"

	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/core"
)

// A Namespace is an empty place for a case: the agent's prefix, or a folder below
// its folder. It is one to three words of [a-z0-9-] with slashes between them; a
// slash at its end changes nothing. What is in one namespace is nothing to an
// agent on another, also when one lies below the other.
type Namespace string

// A Target is an agent under test and what the suite may do around it. Only Open
// is needed by every case. What else is nil has to be named in Lacks with the
// reason, or the cases that need it do not pass.
type Target struct {
	// Open returns a new agent at a namespace, over connections of its own. Agents
	// on one namespace see one store. Where the agent does not list a place that is
	// not there, such as a folder, Open makes it. It is called many times,
	// concurrently too.
	// ctx bounds Open alone. env comes from the suite and goes to the agent as it
	// is; the suite closes the agent.
	Open func(ctx context.Context, ns Namespace, env core.Env) (core.Agent, error)

	// Raw reaches the same places with another client than the agent's.
	Raw Raw

	// OpenFaulty is Open, and every step that the agent takes at the place asks gate
	// before it is taken. See Gate, and Gated for agents over a filetree.FS.
	OpenFaulty func(ctx context.Context, ns Namespace, env core.Env, gate Gate) (core.Agent, error)

	// Crash returns a command, not started, of a process that calls Child with an
	// equal Target and with task, and then exits 0. Its standard output belongs to
	// Child. The suite kills it with SIGKILL. In a test this is the test's own
	// program with task in an environment variable that TestMain looks at.
	Crash func(task string) *exec.Cmd

	// Modes returns the permission bits of every file and folder of a namespace,
	// the namespace itself included, by path.
	Modes func(ctx context.Context, ns Namespace) (map[string]fs.FileMode, error)

	// Wire is how the agent reaches its server over a network. All its fields are
	// needed, unless it is Opaque.
	Wire *Wire

	// Secrets are those that the agent was opened with.
	Secrets []string

	// Lacks says what this target cannot have, and why, for the report.
	Lacks map[Means]string

	Limits Limits

	// Select says which cases run; nil means all.
	Select func(Case) bool

	// Seed makes content and ids. 0 means OFFSITE_CONFORMANCE_SEED, or else a new
	// one, which the report names.
	Seed uint64

	// Short leaves out what takes long: cases of level Core, and large archives.
	Short bool
}

// Limits are what the suite has to know of an agent to aim well.
type Limits struct {
	// PartSize is how many bytes go in one part where the size of the archive does
	// not ask for more. 0 means 8 MiB. Archives of up to five parts are stored: a
	// target that can choose takes 1 MiB.
	PartSize int64

	// InFlight is how many parts of one archive are on their way at once, at most. 0
	// means 4.
	InFlight int

	// Page is how many entries the place gives in one page of a list. 0 means that
	// it knows no pages, and the suite looks at the edges of 7.
	Page int
}

// Means are what a case may need besides the agent.
type Means string

// The means, named as the fields of Target.
const (
	MeansRaw     Means = "raw"
	MeansFaulty  Means = "faulty"
	MeansCrash   Means = "crash"
	MeansModes   Means = "modes"
	MeansSecrets Means = "secrets"
	MeansSync    Means = "sync"  // a place where bytes are written first and made durable by StepSync
	MeansSweep   Means = "sweep" // the agent is a core.Sweeper
	MeansWire    Means = "wire"
	MeansAnswers Means = "answers" // of Wire

	MeansClock     Means = "clock"      // one of Wire.Answers, of kind core.ErrClock
	MeansLateError Means = "late error" // one of Wire.Answers, which begins as a success
)

// A Wire says how an agent reaches its server, so that the suite can stand between
// the two with a fault.Proxy, and what the suite cannot know of a provider's
// protocol.
type Wire struct {
	// Server is where the server listens for plain HTTP, as host:port.
	Server string

	// Opaque says that Server speaks something else than HTTP, which the suite does not
	// understand: all that it sees are connections and bytes. Of this, Open is the only
	// other field that is needed then.
	Opaque bool

	// Open is Target.Open, and all that the agent asks goes to address, a host:port,
	// in the stead of the server. The suite sets env.Patience.
	Open func(ctx context.Context, ns Namespace, env core.Env, address string) (core.Agent, error)

	// OpenTLS is Open by HTTPS. The agent trusts the CAs of roots, in PEM, as a user
	// would make it trust a CA of their own.
	OpenTLS func(ctx context.Context, ns Namespace, env core.Env, address string, roots []byte) (core.Agent, error)

	// Page says whether a request asks for a page of a list of objects.
	Page func(fault.Request) bool

	// BadPages make of the body of a page, which is neither the first nor the last, a
	// bad one.
	BadPages map[BadPage]func(q fault.Request, body []byte) []byte

	// Answers are what the server says to what it does not grant: of each kind of
	// error that it knows one or more.
	Answers []Answer
}

// A BadPage is a way in which a page of a list goes wrong.
type BadPage string

// The bad pages. Those of EmptyPage are right: a provider may send them.
const (
	CutPage      BadPage = "cut"       // it says that there is more, and not how to ask for it
	RepeatedPage BadPage = "repeated"  // the token that asks for the next page is the one that asked for this one
	EmptyPage    BadPage = "empty"     // no entries, and the token for the next page
	BrokenPage   BadPage = "malformed" // the document ends in the middle
)

// whole says whether everything of it is given.
func (w *Wire) whole() bool {
	if w == nil || w.Server == "" || w.Open == nil {
		return false
	}
	if w.Opaque {
		return true
	}
	if w.OpenTLS == nil || w.Page == nil {
		return false
	}
	for _, p := range []BadPage{CutPage, RepeatedPage, EmptyPage, BrokenPage} {
		if w.BadPages[p] == nil {
			return false
		}
	}
	return true
}

// Raw is the back door of a place. Its keys are those of the layout, such as
// meta/<id>.json, below a namespace. It is safe for concurrent use. A key that is
// not there is fs.ErrNotExist.
type Raw interface {
	// Put makes or replaces an object. Its key may be of another layout, with
	// characters that no key of ours has.
	Put(ctx context.Context, ns Namespace, key string, data []byte) error

	Get(ctx context.Context, ns Namespace, key string) ([]byte, error)
	Delete(ctx context.Context, ns Namespace, key string) error

	// List returns every object below a namespace, also those of other namespaces
	// below it, in any order. A namespace that is not there has none.
	List(ctx context.Context, ns Namespace) ([]string, error)

	// Leftovers returns what the place holds below a namespace that is no object
	// under its own name: partial and temporary files with their records, parts
	// and uploads that were not finished. Locks that are made to stay and hold
	// nothing are none.
	Leftovers(ctx context.Context, ns Namespace) ([]string, error)
}

// A Gate is asked before each step at the place. When it answers other than
// NoFault, the step is not taken and fails as the place itself would report that
// fault. A gate may block, for ever in a process that is to be killed there. It
// is called concurrently. A target reports every step of a kind that it has.
type Gate func(Step) Fault

// A Step is one thing that an agent does at its place.
type Step struct {
	Op   StepOp
	Key  string // what it concerns, below the namespace: a path, or the object's key
	From string // of StepPublish, the path that gets the name Key
	Size int    // of StepWrite and StepRead, the bytes about to move
}

// A StepOp is a kind of step.
type StepOp string

// The kinds of steps.
const (
	StepCreate  StepOp = "create"   // a new file, folder or upload in parts
	StepWrite   StepOp = "write"    // bytes into it
	StepSync    StepOp = "sync"     // its bytes made durable
	StepClose   StepOp = "close"    // a file that was written
	StepPublish StepOp = "publish"  // gets its final name: link, rename, commit
	StepSyncDir StepOp = "sync dir" // the names in folder Key made durable
	StepRead    StepOp = "read"     // an object's bytes or what is known of it
	StepList    StepOp = "list"     // names, or a page of them
	StepRemove  StepOp = "remove"   // a file or object
)

// A Fault is how a step fails.
type Fault string

// The faults, and what a file system says for them.
const (
	NoFault Fault = ""
	NoSpace Fault = "no space" // ENOSPC
	Denied  Fault = "denied"   // EACCES
	Broken  Fault = "broken"   // EIO; a server's 500
)

// The bounds of the contract and of the suite.
const (
	// A short run makes do with archives of one part where parts are larger than the
	// smallest that S3 knows.
	largePart = 5 << 20

	obeyWithin = 2 * time.Second // a call whose context has ended returns
	busy       = 3 * time.Second // what a busy machine may add to it
	caseLimit  = 2 * time.Minute // no case takes longer
)
