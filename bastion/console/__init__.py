"""The review console (L4): recordings and sessions in a browser, served by a process of its own (`bastion console`).

It looks and it asks: what it shows comes from the state store, the recordings and the reading index, and what it orders
goes to the gateway's control socket. It loads no SSH key. Invariants: a route that is not in the table does not exist,
and one that is there says whose it is; nothing of a recording is shown before the line about it stands in the audit
log; what was recorded reaches a browser as text and never as markup.

- `routes`: every route and whose it is
- `asked`: what a browser asked for, read strictly, as a value
- `admission`: may this be answered? One pure function
- `throttle`: how often one address and one person may ask
- `visits`: who is signed in
- `answers`: what goes back, with the headers that all of it has
- `site`: HTTP with limits, on twisted.web
- `filters`: the list's filters as a URL, and back
- `rendering`: pages from templates
- `reads`: the state store and the reading index, asked in threads
- `challenges`: what a browser signs or brings back, sealed
- `passkeys`: what a browser brought of one, judged
- `elsewhere`: an identity provider, led to and come back from; `returning`: the pages of that
- `browsers_attempt`: an attempt with a passkey, or elsewhere, booked as others are
- `signing_in`: the same directory and factors as SSH
- `codes`: who judges one-time codes, the store or a gateway
- `standing`: is somebody who signed in a while ago still who he was?
- `reader`: the process that opens one recording
- `away`: a recording that is in the bucket alone, for it
- `looked`: who has looked at a session
- `charts`: where bars of a chart stand
- `tokens`: API tokens, made and read
- `bearers`: whom they stand for
- `parts`: what the player asks of it there
- `readers`: those processes, as the console sees them
- `gateway`: the gateway's control socket
- `desk`: what every page is given
- `entry`: signing in and out
- `listing`: sessions as a list, and one of them
- `recordings`: what a recording shows: text, its files as a tree, files to keep, whether it is proved
- `playing`: the player's page, and the parts of a recording that it asks for
- `grants`: one line in the audit log for many parts
- `reviews`: what reviewers leave at sessions, and those that wait for one
- `access`: who can reach what, and by which rule
- `holding`: recordings that are held, and holds that two people lift
- `keeping`: how long recordings are kept, and what goes next
- `saved`: searches that people saved
- `nightly`: `bastion searches`: those run; `owners`: for whom; `telling`: what is new posted and mailed
- `own_store`: the state store as the console's own role finds it
- `overview`: what went on of late
- `overdue`: how many reviews are, for the gateway's metrics
- `searching`: lines that were shown
- `orders`: who is here now; ending and locking; `locking`: what is locked, and unlocked again
- `accounts`: one's own tokens, and everybody's for admins
- `own_passkeys`: passkeys added and removed
- `shapes`, `interface`: what programs get and send, as types, and on which routes
- `openapi`: the document of that
- `figures`: what the console counts
- `metrics_port`: its metrics page
- `streams`: answers that go on, for as long as whoever takes them may see them
- `painting`: who draws when
- `screens`: a watched session as rows of text
- `watching`: watching sessions as they happen
- `feed`: requests for approval as they come and go
- `requests`: requests for approval, listed and answered; `deleting`: recordings that two people want deleted
- `proofs`: codes and passkeys that go on to the gateway, for one decision
- `application`: from a request to its answer
- `program`: the process, built of a configuration
- `command`: `bastion console`
- `token_command`: `bastion console-token`
"""
