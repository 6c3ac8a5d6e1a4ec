package vm

// State of a VM as its customer sees it; the words are those of the API.
type State string

// The states, and who moves a VM on from each.
const (
	New               State = "New"               // accepted and paid for; its agent moves it on, or its deadline
	Launching         State = "Launching"         // its agent prepares or boots it; its agent moves it on, or its deadline
	Active            State = "Active"            // reachable; its customer moves it on, or billing
	SmallBalance      State = "SmallBalance"      // runs on what is paid, no reserve for another epoch; billing
	InsufficientFunds State = "InsufficientFunds" // powered off for money, disk kept; billing
	Terminated        State = "Terminated"        // ended by provider or billing; its customer removes the record
	Stopped           State = "Stopped"           // ended by its customer; final
	Failed            State = "Failed"            // never became Active, money back; its customer removes the record
)

// Phase is how far a VM has come on its server.
type Phase string

// The phases that an agent reports.
const (
	Absent      Phase = "absent"      // nothing of it is on the server
	Preparing   Phase = "preparing"   // its image is fetched, its disk made
	Booting     Phase = "booting"     // its machine runs but does not answer yet
	Ready       Phase = "ready"       // it answers, or has run so long that it need not
	Halted      Phase = "halted"      // nothing of it runs, its disk is kept
	Broken      Phase = "broken"      // it can't be started, and trying again will not help
	Quarantined Phase = "quarantined" // on the server though nobody asked for it; left as it is
)

// Cause is what may change a VM's state: an agent's report, its customer's
// wish, its provider's, the passing of its deadline, or its money.
type Cause string

// The causes.
const (
	SeenPreparing   Cause = "seen_preparing"
	SeenBooting     Cause = "seen_booting"
	SeenReady       Cause = "seen_ready"
	SeenBroken      Cause = "seen_broken"
	Deleted         Cause = "deleted"           // its customer wants it gone
	EndedByProvider Cause = "ended_by_provider" // its provider gave it up, or drained its server
	Overdue         Cause = "overdue"           // its deadline passed
	Covered         Cause = "covered"           // its reserve pays another epoch
	RanShort        Cause = "ran_short"         // its balance can't fill its reserve
	Unpaid          Cause = "unpaid"            // an epoch is due and can't be paid
	Restarted       Cause = "restarted"         // the balance pays for it again
	Replaced        Cause = "replaced"          // it could not be launched and got a place on another server
	PaidOff         Cause = "paid_off"          // the balance pays for it again, and it stays powered off
	Undeleted       Cause = "undeleted"         // its customer wants it back that was deleted
)

// Cause returns what a report of this phase causes; ok is false for a phase
// that changes no state.
func (p Phase) Cause() (c Cause, ok bool) {
	switch p {
	case Preparing:
		return SeenPreparing, true
	case Booting:
		return SeenBooting, true
	case Ready:
		return SeenReady, true
	case Broken:
		return SeenBroken, true
	case Absent, Halted, Quarantined:
		return "", false
	}
	return "", false
}

// Next returns the state that follows s after c. No other function decides a
// VM's state. A VM that was Active once stays so whatever its agent reports: a
// guest that powers itself off is started again.
func Next(s State, c Cause) State {
	if s == Stopped && c != Undeleted {
		return Stopped
	}
	switch c {
	case Undeleted:
		if s == Stopped {
			return Launching
		}
	case PaidOff:
		if s == InsufficientFunds {
			return Active
		}
	case Deleted:
		return Stopped
	case EndedByProvider:
		if !s.Ended() {
			return Terminated
		}
	case SeenPreparing, SeenBooting:
		if s == New {
			return Launching
		}
	case SeenReady:
		if s.Starting() {
			return Active
		}
	case SeenBroken:
		if s.Starting() {
			return Failed
		}
	case Overdue:
		if s.Starting() {
			return Failed
		}
		if s == InsufficientFunds {
			return Terminated
		}
	case Covered, RanShort, Unpaid:
		if s.Billed() {
			return map[Cause]State{Covered: Active, RanShort: SmallBalance, Unpaid: InsufficientFunds}[c]
		}
	case Replaced:
		if s.Starting() {
			return New
		}
	case Restarted:
		if s == InsufficientFunds {
			return Launching
		}
	}
	return s
}

// Billed reports whether epochs of a VM in state s fall due.
func (s State) Billed() bool { return s == Active || s == SmallBalance }

// Starting reports whether a VM in state s is on its way to Active.
func (s State) Starting() bool { return s == New || s == Launching }

// Ended reports whether a VM in state s will not run again.
func (s State) Ended() bool { return s == Terminated || s == Stopped || s == Failed }

// Addressed reports whether a VM in state s shows its public address.
func (s State) Addressed() bool { return s == Active || s == SmallBalance }

// Valid reports whether s is one of the states.
func (s State) Valid() bool {
	switch s {
	case New, Launching, Active, SmallBalance, InsufficientFunds, Terminated, Stopped, Failed:
		return true
	}
	return false
}
