[
  inputs: ["{mix,.formatter,demo}.exs", "{lib,test}/**/*.{ex,exs}"],
  line_length: 110,
  locals_without_parens: [signature: 1, signature: 2],
  export: [locals_without_parens: [signature: 1, signature: 2]]
]
