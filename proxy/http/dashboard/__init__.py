"""The dashboard: pages for people, made on the server from the same reports as the API.

`pages` has the routes and the overview, `request_pages` and `operator_pages` the other pages. `sign_in` finds the viewer,
`figures` computes, `charts` draws, `render` fills the templates. No page needs a script.
"""
